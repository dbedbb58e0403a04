#include "command.hpp"
#include "handler_text.hpp"
#include "nodes.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {
namespace {

constexpr OptionSyntax handler_list_options[] = {node_option, socket_option};

ExitCode run_handler_list(const ParsedLine& line, Output& out) {
  auto nodes = reach_nodes(line, out);
  if (!nodes) return out.fail(nodes.error());
  out.heading({"HANDLER", "STATE", "RULE", "DELIVERED", "BUFFERED", "DROPPED", "LAG", "RESTARTS", "NODE"});
  std::size_t shown = 0;
  for (ReachedNode& node : *nodes) {
    const auto stats = node.client.handlers();
    if (!stats) return out.fail(stats.error());
    for (const HandlerStats& handler : stats->handlers) {
      ++shown;
      if (out.json()) {
        out.print(handler_json(handler, node.name).str() + "\n");
        continue;
      }
      out.row({handler.name, std::string(to_string(handler.state)), handler.overflow, concat(handler.delivered),
               concat(handler.buffered), concat(handler.dropped.total() - handler.dropped.filtered), lag_text(handler),
               concat(handler.restarts), node.name});
    }
  }
  if (shown == 0) {
    out.say("no handlers");
  } else if (!out.json()) {
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command handler_list_command{
    {.name = "handler list",
     .summary = "Lists the event handlers of running nodes, with what each has missed.",
     .options = handler_list_options,
     .notes = "DROPPED: by its rule, at crashes and at stops; not what its filter rejected.",
     .examples = "  dagverk handler list\n  dagverk handler list --json"},
    run_handler_list,
    "3 no node can be reached",
    "`handler`, `node`, `state`, `rule`, `published`, `delivered`, `buffered`, `dropped` (by reason), `lag_ms`, "
    "`restarts`, `last_error`",
};

}  // namespace dagverk::app
