#include "worker/event_printer.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/event_text.hpp"
#include "dagverk/worker/terminal.hpp"
#include "dagverk/worker/time_text.hpp"

#include <string>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {

EventPrinter::EventPrinter(EventForm form, std::function<void()> closed) : form_(form), closed_(std::move(closed)) {}

void EventPrinter::handle_batch(std::span<const jobs::Event> events) {
  std::string text;
  const std::string now = utc_text(system_clock().wall_now()).substr(11);
  for (const jobs::Event& event : events) {
    text += form_ == EventForm::json ? jobs::to_json_line(event) : concat(now, "  ", event_text(event));
    text.push_back('\n');
  }
  if (write_all(STDOUT_FILENO, text) == Written::all) return;
  leave();
  closed_();
}

}  // namespace dagverk::worker
