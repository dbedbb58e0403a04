#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dagverk::detail {

/// Where a formatter writes: a file, truncated when it is opened, or standard output for an empty path.
///
/// Errors: throws std::runtime_error, saying the path, what went wrong and what to do: the formatter is then dropped.
class ReportFile {
 public:
  explicit ReportFile(std::string path) : path_(std::move(path)) {}
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;
  ~ReportFile();

  void open();
  /// Keeps `text`, and writes what is kept when that is much.
  void write(std::string_view text);
  /// What is kept and not written yet; to append to before a `flush`.
  [[nodiscard]] std::string& kept() noexcept { return kept_; }
  void flush();
  [[nodiscard]] bool is_terminal() const;

 private:
  [[noreturn]] void give_up(const char* what) const;

  std::string path_;
  std::string kept_;
  int file_ = -1;
};

}  // namespace dagverk::detail
