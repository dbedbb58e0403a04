#include "command.hpp"
#include "nodes.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/worker/event_text.hpp"
#include "dagverk/worker/time_text.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <poll.h>
#include <string>
#include <vector>

namespace dagverk::app {
namespace {

constexpr OptionSyntax events_tail_options[] = {
    {'\0', "event", "KIND", "only this kind, such as JobFailed; may be repeated"},
    {'q', "queue", "NAME", "only this queue"},
    {'\0', "class", "NAME", "only this class"},
    {'\0', "jid", "JID", "only this job"},
    {'n', "count", "N", "end after N events"},
    node_option,
    socket_option,
};

constexpr std::size_t no_limit = std::numeric_limits<std::int64_t>::max();

worker::EventFilter filter_of(const ParsedLine& line) {
  const auto text = [&](std::string_view option) { return std::string(line.value(option).value_or("")); };
  return {.kinds = line.values("event"), .queue = text("queue"), .job_class = text("class"), .jid = text("jid")};
}

std::string for_people(const std::string& json, WallTime now) {
  const auto event = jobs::event_from_json_line(json);
  const std::string what = event ? worker::event_text(*event) : worker::printable(json);
  return concat(worker::utc_text(now).substr(11), "  ", what);
}

/// Prints what the node has to say now. False: it has closed.
Result<bool> print_events(worker::NodeClient& client, Output& out, std::size_t& left) {
  do {
    const auto line = client.next_event();
    if (!line) return line.error();
    if (!line->has_value()) return false;
    --left;
    const std::string text = out.json() ? **line : for_people(**line, system_clock().wall_now());
    if (!out.print(text + "\n")) left = 0;
  } while (left > 0 && client.has_event());
  return true;
}

ExitCode run_events_tail(const ParsedLine& line, Output& out) {
  const worker::EventFilter filter = filter_of(line);
  if (const auto kinds = worker::event_kinds(filter); !kinds) return out.fail(kinds.error());
  const auto count = count_option(line, "count", no_limit, 1'000'000'000);
  if (!count) return out.fail(count.error());
  auto nodes = reach_nodes(line, out);
  if (!nodes) return out.fail(nodes.error());
  std::vector<pollfd> descriptors;
  for (ReachedNode& node : *nodes) {
    if (const auto followed = node.client.follow(filter); !followed) return out.fail(followed.error());
    descriptors.push_back({node.client.descriptor(), POLLIN, 0});
  }
  // When nobody reads what we print, we end, even while no events come.
  descriptors.push_back({STDOUT_FILENO, 0, 0});
  out.say(concat("following ", nodes->size(), nodes->size() == 1 ? " node" : " nodes", "; Ctrl-C ends"));

  std::size_t left = *count;
  std::size_t open = nodes->size();
  while (left > 0 && open > 0) {
    if (::poll(descriptors.data(), descriptors.size(), -1) < 0) continue;
    if ((descriptors.back().revents & POLLERR) != 0) break;
    for (std::size_t index = 0; index < nodes->size() && left > 0; ++index) {
      if (descriptors[index].revents == 0) continue;
      ReachedNode& node = (*nodes)[index];
      const auto more = print_events(node.client, out, left);
      if (more && *more) continue;
      out.say(concat("node ", worker::printable(node.name), " has ended"));
      descriptors[index].fd = -1;
      --open;
    }
  }
  std::uint64_t missed = 0;
  for (const ReachedNode& node : *nodes) missed += node.client.missed();
  if (missed > 0) out.complain(concat(missed, " events are not shown: they came faster than they were read"));
  return ExitCode::done;
}

}  // namespace

const Command events_tail_command{
    {.name = "events tail",
     .summary = "Prints events of running nodes as they happen.",
     .options = events_tail_options,
     .notes = "Each node keeps 10,000 events for a reader that is slow; jobs never wait.",
     .examples = "  dagverk events tail\n  dagverk events tail --event JobFailed --event JobDied --json"},
    run_events_tail,
    "3 no node can be reached",
    "an event each, as the journal has it",
};

}  // namespace dagverk::app
