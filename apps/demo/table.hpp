#pragma once

#include <string>
#include <vector>

namespace dagverk::demo {

/// Rows of cells, printed with columns that line up; the first row is the head. Numbers (cells that begin with a digit)
/// to the right.
[[nodiscard]] std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// A progress line: redrawn in place on a terminal, printed now and then elsewhere.
class Progress {
 public:
  Progress();
  /// `ended` of `total` jobs.
  void show(std::size_t ended, std::size_t total, const std::string& note);
  /// A line of its own.
  void say(const std::string& line);
  void finish();

 private:
  bool terminal_;
  bool drawn_ = false;
  std::size_t last_tenth_ = 0;
};

}  // namespace dagverk::demo
