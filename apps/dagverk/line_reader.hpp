#pragma once

#include "output.hpp"

#include "dagverk/base/error.hpp"
#include "dagverk/worker/exit_code.hpp"

#include <cstddef>
#include <expected>
#include <optional>
#include <string>

namespace dagverk::app {

using worker::ExitCode;

/// Bytes of a descriptor, line by line, with a bound on each line.
class LineReader {
 public:
  LineReader(int descriptor, std::size_t line_limit) noexcept : descriptor_(descriptor), line_limit_(line_limit) {}

  struct Line {
    std::string text;       ///< empty when it is too long
    bool too_long = false;  ///< it was read to its end and forgotten
  };

  /// None at the end, and after a failure, which `error` then has.
  [[nodiscard]] std::optional<Line> next();

  std::optional<Error> error;

 private:
  int descriptor_;
  std::size_t line_limit_;
  std::string buffer_;
  std::size_t begin_ = 0;
};

/// Lines that a command was told to read.
struct LineSource {
  int descriptor = -1;  ///< open until the program ends
  std::string shown;    ///< for messages
};

/// Opens the file, or for `-` standard input. A failure is told on standard error; the exit code says which it was.
[[nodiscard]] std::expected<LineSource, ExitCode> open_lines(const std::string& file, const Output& out);

}  // namespace dagverk::app
