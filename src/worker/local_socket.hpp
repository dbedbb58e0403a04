#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

/// Unix sockets that carry lines of text, blocking, with a limit on every wait.
namespace dagverk::worker {

/// A descriptor of its own.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// Wakes every thread that waits on one of its sockets, once and for all.
class StopSignal {
 public:
  StopSignal();
  void raise() noexcept;
  [[nodiscard]] int descriptor() const noexcept { return event_.number(); }

 private:
  Descriptor event_;
};

/// One end of a connection. Threads: one reader and one writer at a time.
class LineSocket {
 public:
  static constexpr std::size_t line_size_limit = std::size_t{1} << 20U;

  /// `stop`: once raised, waits end with `shutting_down`; shared with those who raise it.
  explicit LineSocket(Descriptor descriptor, std::shared_ptr<const StopSignal> stop = nullptr) noexcept
      : descriptor_(std::move(descriptor)), stop_(std::move(stop)) {}

  /// Errors: `unavailable` when nobody listens there, `permission`.
  [[nodiscard]] static Result<LineSocket> connect(const std::string& path);

  /// Writes all of `text`. Zero or less: no limit. Errors: `timeout`, `unavailable` when the other end has gone,
  /// `shutting_down`.
  [[nodiscard]] Result<void> write(std::string_view text, Duration limit);
  /// The next line, without its newline; none when the other end has closed. Zero or less: no limit. Errors:
  /// `timeout`, `too_large`, `unavailable`, `shutting_down`.
  [[nodiscard]] Result<std::optional<std::string>> read_line(Duration limit);
  /// Whether `read_line` has a line, or the end, without waiting for bytes to arrive.
  [[nodiscard]] bool has_line() const noexcept { return buffer_.find('\n') != std::string::npos; }

  /// Both ends see the end of the lines, and waits on this one are over. From any thread.
  void shut_down() noexcept;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_.number(); }

 private:
  Descriptor descriptor_;
  std::shared_ptr<const StopSignal> stop_;
  std::string buffer_;
};

/// A socket in the file system that waits for connections of the same user, and of root.
class LocalListener {
 public:
  /// Errors: `configuration` for a path that is too long or whose folder is missing, `already_exists` when somebody
  /// listens there, `permission`, `io`. A socket that nobody listens on any more is replaced.
  [[nodiscard]] static Result<LocalListener> open(const std::string& path);
  LocalListener(LocalListener&& other) noexcept
      : descriptor_(std::move(other.descriptor_)), path_(std::exchange(other.path_, {})) {}
  LocalListener& operator=(LocalListener&& other) = delete;
  /// Removes the file.
  ~LocalListener();

  /// Waits for the next connection; none once `stop` is raised. Those of other users are closed at once.
  [[nodiscard]] std::optional<Descriptor> accept(const StopSignal& stop);
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  LocalListener(Descriptor descriptor, std::string path) noexcept
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  Descriptor descriptor_;
  std::string path_;
};

/// A path for a socket of this process, in a folder that only this user can enter:
/// `$XDG_RUNTIME_DIR/dagverk/PID-….sock`, else below `/tmp/dagverk-UID`. Sockets there that nobody listens on any more
/// are removed. Errors: `permission` when somebody else made the folder, `io`.
[[nodiscard]] Result<std::string> fresh_socket_path();

}  // namespace dagverk::worker
