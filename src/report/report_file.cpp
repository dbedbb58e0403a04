#include "report/report_file.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>

namespace dagverk::detail {
namespace {

constexpr std::size_t write_from = std::size_t{64} * 1024;

}  // namespace

ReportFile::~ReportFile() {
  if (file_ > STDERR_FILENO) ::close(file_);
}

void ReportFile::give_up(const char* what) const {
  const int error = errno;
  throw std::runtime_error(
      concat("cannot ", what, " ", path_.empty() ? "standard output" : path_, ": ", std::strerror(error),
             error == ENOSPC ? "; free some space, or name a file elsewhere in DAGVERK_REPORT" : ""));
}

void ReportFile::open() {
  if (path_.empty()) {
    file_ = STDOUT_FILENO;
    return;
  }
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) give_up("open");
}

void ReportFile::write(std::string_view text) {
  kept_ += text;
  if (kept_.size() >= write_from) flush();
}

void ReportFile::flush() {
  std::string_view rest = kept_;
  while (!rest.empty()) {
    const ssize_t written = ::write(file_, rest.data(), rest.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      give_up("write");
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  kept_.clear();
}

bool ReportFile::is_terminal() const { return ::isatty(file_) == 1; }

}  // namespace dagverk::detail
