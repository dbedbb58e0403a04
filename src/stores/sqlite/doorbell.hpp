#pragma once

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::stores {

/// A socket beside the store's file at which other OS processes say that they put jobs into queues.
///
/// Semantics: a Unix datagram socket `<store>.nodes/<name>.bell`. Rings that nobody takes fill its short queue, and
///            further ones are lost at once: whoever does not wait is not woken, and whoever begins to wait finds at
///            least one.
/// Threads:   one at a time.
/// Lifetime:  the destructor removes the file; a process that is killed leaves it, and the next one to ring finds out.
class Doorbell {
 public:
  /// Errors: `io`: the folder or the socket cannot be made.
  [[nodiscard]] static Result<Doorbell> create(std::string_view store_path, std::string_view name);

  Doorbell(Doorbell&& other) noexcept;
  Doorbell& operator=(Doorbell&& other) noexcept;
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  ~Doorbell();

  /// For poll(2): readable when somebody rang.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Takes all rings; true when there were any.
  [[nodiscard]] bool take_rings() const noexcept;

 private:
  Doorbell(std::string path, int descriptor) noexcept;

  std::string path_;
  int descriptor_ = -1;
};

/// Rings other processes' doorbells.
///
/// Threads: one at a time.
class BellRinger {
 public:
  explicit BellRinger(std::string store_path) : store_path_(std::move(store_path)) {}
  BellRinger(const BellRinger&) = delete;
  BellRinger& operator=(const BellRinger&) = delete;
  ~BellRinger();

  /// Never blocks. False when the bell is gone: nobody will ever hear it again.
  [[nodiscard]] bool ring(std::string_view name) noexcept;
  /// Removes what a killed process left.
  void remove(std::string_view name) const noexcept;

 private:
  std::string store_path_;
  int descriptor_ = -1;
};

}  // namespace dagverk::stores
