#include "command.hpp"
#include "nodes.hpp"

#include "dagverk/base/concat.hpp"

#include <string>

namespace dagverk::app {
namespace {

constexpr OptionSyntax handler_control_options[] = {node_option, socket_option};

using Change = Result<void> (worker::NodeClient::*)(std::string_view name);

ExitCode change_handler(const ParsedLine& line, Output& out, Change change, std::string_view done_word) {
  auto nodes = reach_nodes(line, out);
  if (!nodes) return out.fail(nodes.error());
  const std::string& name = line.arguments().front();
  const auto node = node_with_handler(*nodes, name);
  if (!node) return out.fail(node.error());
  const auto changed = ((*node)->client.*change)(name);
  if (!changed) return out.fail(changed.error());
  if (out.json()) {
    out.print(JsonObject().text("handler", name).text("node", (*node)->name).text("outcome", done_word).str() + "\n");
  } else {
    out.print(concat(done_word, "\n"));
  }
  return ExitCode::done;
}

ExitCode run_start(const ParsedLine& line, Output& out) {
  return change_handler(line, out, &worker::NodeClient::start_handler, "started");
}
ExitCode run_stop(const ParsedLine& line, Output& out) {
  return change_handler(line, out, &worker::NodeClient::stop_handler, "stopped");
}
ExitCode run_restart(const ParsedLine& line, Output& out) {
  return change_handler(line, out, &worker::NodeClient::restart_handler, "restarted");
}

}  // namespace

const Command handler_start_command{
    {.name = "handler start",
     .arguments = "NAME",
     .summary = "Starts an event handler that failed or was stopped.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = handler_control_options,
     .notes = "What its rule has kept for it goes first. One that runs goes on.",
     .examples = "  dagverk handler start invoices\n  dagverk handler start invoices --node host:1:a"},
    run_start,
    "3 no such handler, or no node can be reached",
    "`handler`, `node`, `outcome`",
};

const Command handler_stop_command{
    {.name = "handler stop",
     .arguments = "NAME",
     .summary = "Stops an event handler until it is started again.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = handler_control_options,
     .notes = "It finishes the event it handles. Meanwhile its rule keeps events for it.",
     .examples = "  dagverk handler stop invoices\n  dagverk handler stop invoices --json"},
    run_stop,
    "3 no such handler, or no node can be reached",
    "`handler`, `node`, `outcome`",
};

const Command handler_restart_command{
    {.name = "handler restart",
     .arguments = "NAME",
     .summary = "Starts an event handler anew, even one that hangs.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = handler_control_options,
     .notes = "The event it handles is dropped, and counted.",
     .examples = "  dagverk handler restart invoices\n  dagverk handler restart invoices --json"},
    run_restart,
    "3 no such handler, or no node can be reached",
    "`handler`, `node`, `outcome`",
};

}  // namespace dagverk::app
