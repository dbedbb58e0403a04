#include "table.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace dagverk::demo {

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (std::size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], row[column].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    text.append("  ");
    for (std::size_t column = 0; column < row.size(); ++column) {
      const std::string& cell = row[column];
      const std::string gap(widths[column] - cell.size(), ' ');
      const bool number = column > 0;
      text.append(number ? gap + cell : cell + gap);
      text.append(column + 1 < row.size() ? "  " : "");
    }
    text.append("\n");
  }
  return text;
}

Progress::Progress() : terminal_(::isatty(STDOUT_FILENO) == 1) {}

void Progress::show(std::size_t ended, std::size_t total, const std::string& note) {
  if (total == 0) return;
  if (terminal_) {
    constexpr std::size_t width = 40;
    const std::size_t filled = ended * width / total;
    std::printf("\r  [%s%s] %zu/%zu %-24s", std::string(filled, '#').c_str(), std::string(width - filled, '.').c_str(),
                ended, total, note.c_str());
    drawn_ = true;
  } else if (ended * 10 / total > last_tenth_) {
    last_tenth_ = ended * 10 / total;
    std::printf("  %zu of %zu jobs ended\n", ended, total);
  }
  std::fflush(stdout);
}

void Progress::say(const std::string& line) {
  if (drawn_) std::printf("\n");
  drawn_ = false;
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void Progress::finish() {
  if (drawn_) std::printf("\n");
  drawn_ = false;
}

}  // namespace dagverk::demo
