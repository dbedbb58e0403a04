#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/report/formatters.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Which formatters are in a callback, in memory that the guard reads when the reporter has ended early.
///
/// Semantics: the formatter at whose callback a deadly signal comes is known for sure; when the reporter ends in any
///            other way, as by `_exit`, all that were at work are named.
/// Threads:   each formatter's thread writes its own place; the guard reads once nobody writes any more.
/// Bounds:    the first `formatters_max`; more are not watched.
class FormatterWatch {
 public:
  static constexpr std::size_t formatters_max = 64;

  /// Errors: `io` when there is no shared memory.
  [[nodiscard]] static Result<FormatterWatch> make();
  FormatterWatch(FormatterWatch&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  FormatterWatch& operator=(FormatterWatch&&) = delete;
  ~FormatterWatch();

  /// In the reporter: has its formatters, in this order, say when they are at work, and its deadly signals where they
  /// came. The watch outlives both.
  void watch(std::vector<FormatterSpec>& formatters);

  /// In the guard, of a reporter that ended early: what to say of it. `formatters` are their names, in order.
  [[nodiscard]] std::string verdict(const std::vector<std::string>& formatters) const;

  struct Shared {
    std::array<std::atomic<std::uint32_t>, formatters_max> at_work{};  ///< callbacks of each that have not returned
    std::atomic<std::uint32_t> crashed{0};                             ///< one more than its place; 0: none
    std::atomic<int> signal{0};
  };

 private:
  explicit FormatterWatch(Shared* shared) noexcept : shared_(shared) {}
  Shared* shared_;
};

}  // namespace dagverk::detail
