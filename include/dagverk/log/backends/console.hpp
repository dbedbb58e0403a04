#pragma once

#include "dagverk/log/log_backend.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dagverk {

struct ConsoleOptions {
  bool to_stdout = false;                                        ///< false: standard error
  enum class Color : std::uint8_t { automatic, always, never };  ///< automatic: on a terminal, unless NO_COLOR is set
  Color color = Color::automatic;
};

/// Writes lines to standard error or standard output. A reader that has gone away costs lines (`failed`), no more.
class ConsoleBackend final : public LogBackend {
 public:
  explicit ConsoleBackend(ConsoleOptions options = {});

  [[nodiscard]] Result<void> open() override;
  [[nodiscard]] WriteOutcome write(const LogBatch& batch) override;
  [[nodiscard]] int crash_descriptor() const noexcept override { return descriptor_; }

 private:
  ConsoleOptions options_;
  int descriptor_;
  bool color_ = false;
  std::string text_;
  std::vector<std::size_t> line_ends_;
};

[[nodiscard]] BackendSpec console_backend(std::string name = "console", ConsoleOptions options = {});

}  // namespace dagverk
