#include "line_reader.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace dagverk::app {

std::optional<LineReader::Line> LineReader::next() {
  Line line;
  while (true) {
    const std::size_t end = buffer_.find('\n', begin_);
    const std::size_t size = (end == std::string::npos ? buffer_.size() : end) - begin_;
    if (line.text.size() + size > line_limit_) line.too_long = true;
    if (line.too_long) {
      line.text.clear();
    } else {
      line.text.append(buffer_, begin_, size);
    }
    if (end != std::string::npos) {
      begin_ = end + 1;
      return line;
    }
    buffer_.resize(65536);
    begin_ = 0;
    ssize_t count = 0;
    do {
      count = ::read(descriptor_, buffer_.data(), buffer_.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) error = Error(ErrorCode::io, concat("reading failed: ", std::strerror(errno)));
    buffer_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    if (count < 0) return std::nullopt;
    if (count == 0) return line.text.empty() && !line.too_long ? std::nullopt : std::optional(std::move(line));
  }
}

std::expected<LineSource, ExitCode> open_lines(const std::string& file, const Output& out) {
  if (file == "-") return LineSource{STDIN_FILENO, "standard input"};
  LineSource source{::open(file.c_str(), O_RDONLY | O_CLOEXEC), worker::printable(file)};
  if (source.descriptor >= 0) return source;
  const ExitCode code = errno == ENOENT ? ExitCode::not_found : ExitCode::failed;
  out.complain(concat("error: ", source.shown, ": ", std::strerror(errno)));
  return std::unexpected(code);
}

}  // namespace dagverk::app
