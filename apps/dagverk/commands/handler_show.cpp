#include "command.hpp"
#include "handler_text.hpp"
#include "nodes.hpp"

#include "dagverk/base/concat.hpp"

#include <string>
#include <utility>

namespace dagverk::app {
namespace {

constexpr OptionSyntax handler_show_options[] = {node_option, socket_option};

ExitCode run_handler_show(const ParsedLine& line, Output& out) {
  auto nodes = reach_nodes(line, out);
  if (!nodes) return out.fail(nodes.error());
  const std::string& name = line.arguments().front();
  const auto node = node_with_handler(*nodes, name);
  if (!node) return out.fail(node.error());
  const auto stats = (*node)->client.handlers();
  if (!stats) return out.fail(stats.error());
  const HandlerStats* const handler = stats->find(name);
  if (handler == nullptr) return out.fail(Error(ErrorCode::not_found, concat("no handler \"", name, "\" any more")));
  if (out.json()) {
    out.print(handler_json(*handler, (*node)->name).str() + "\n");
    return ExitCode::done;
  }
  const std::pair<std::string_view, std::string> figures[] = {
      {"handler", handler->name},
      {"node", (*node)->name},
      {"state", std::string(to_string(handler->state))},
      {"rule", handler->overflow},
      {"published", concat(handler->published)},
      {"delivered", concat(handler->delivered)},
      {"buffered", concat(handler->buffered)},
      {"lag", lag_text(*handler)},
      {"dropped: overflow", concat(handler->dropped.overflow)},
      {"dropped: crashed", concat(handler->dropped.crashed)},
      {"dropped: filtered", concat(handler->dropped.filtered)},
      {"dropped: consumer down", concat(handler->dropped.consumer_down)},
      {"dropped: shutdown", concat(handler->dropped.shutdown)},
      {"dropped: sampled", concat(handler->dropped.sampled)},
      {"dropped: ingress", concat(handler->dropped.ingress)},
      {"dropped: coalesced", concat(handler->dropped.coalesced)},
      {"dropped: spill failed", concat(handler->dropped.spill_failed)},
      {"restarts", concat(handler->restarts)},
      {"last error", handler->last_error.empty() ? "-" : handler->last_error},
  };
  for (const auto& [what, value] : figures) out.row({std::string(what), value});
  out.end_table();
  return ExitCode::done;
}

}  // namespace

const Command handler_show_command{
    {.name = "handler show",
     .arguments = "NAME",
     .summary = "Shows all figures of one event handler.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = handler_show_options,
     .notes = "published is delivered, dropped and buffered together, always.",
     .examples = "  dagverk handler show printer\n  dagverk handler show printer --json"},
    run_handler_show,
    "3 no such handler, or no node can be reached",
    "`handler`, `node`, `state`, `rule`, `published`, `delivered`, `buffered`, `dropped` (by reason), `lag_ms`, "
    "`restarts`, `last_error`",
};

}  // namespace dagverk::app
