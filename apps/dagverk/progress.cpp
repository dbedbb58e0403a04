#include "progress.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <chrono>

namespace dagverk::app {
namespace {

constexpr Duration shown_after = std::chrono::seconds(1);
constexpr Duration redrawn_after = std::chrono::milliseconds(100);
constexpr std::size_t bar_width = 30;

}  // namespace

Progress::Progress(const Output& out, std::string_view verb, std::optional<std::size_t> total)
    : out_(out), verb_(verb), total_(total), shown_(out.can_draw()), next_(system_clock().steady_now() + shown_after) {}

Progress::~Progress() {
  if (shown_) out_.erase();
}

void Progress::advance(std::size_t count) {
  done_ += count;
  if (!shown_) return;
  const SteadyTime now = system_clock().steady_now();
  if (now < next_) return;
  next_ = now + redrawn_after;
  out_.draw(line());
}

std::string Progress::line() const {
  if (!total_ || *total_ == 0) return concat(verb_, ": ", done_, " jobs");
  const std::size_t done = std::min(done_, *total_);
  const std::size_t full = bar_width * done / *total_;
  return concat(verb_, ": [", std::string(full, '#'), std::string(bar_width - full, ' '), "] ", 100 * done / *total_,
                " %  ", done, " of ", *total_, " jobs");
}

}  // namespace dagverk::app
