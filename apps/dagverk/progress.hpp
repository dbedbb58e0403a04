#pragma once

#include "output.hpp"

#include "dagverk/base/clock.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::app {

/// How far a long change is: a line on standard error that is drawn over and over, and erased at the end.
///
/// Semantics: shown from the second second on, at most ten times a second, and only on a terminal without --quiet.
/// Lifetime:  borrows `out`.
class Progress {
 public:
  /// `verb`: what is done to the jobs, `export`. `total`: how many there will be, as far as that is known.
  Progress(const Output& out, std::string_view verb, std::optional<std::size_t> total = std::nullopt);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  void advance(std::size_t count = 1);

 private:
  [[nodiscard]] std::string line() const;

  const Output& out_;
  const std::string verb_;
  const std::optional<std::size_t> total_;
  const bool shown_;
  std::size_t done_ = 0;
  SteadyTime next_;
};

}  // namespace dagverk::app
