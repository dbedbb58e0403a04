#include "command.hpp"
#include "selection.hpp"
#include "store_nodes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/terminal.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

constexpr OptionSyntax node_control_options[] = {
    {'\0', "all", "", "every node of the store"},
    {'\0', "dry-run", "", "only say which nodes it would be"},
    {'y', "yes", "", "do not ask"},
};

/// Those named, each once, or all with --all. A name that nobody has costs only itself.
Result<std::vector<jobs::NodeInfo>> select_nodes(const ParsedLine& line, const std::vector<jobs::NodeInfo>& all,
                                                 const Output& out, bool& some_missing) {
  const std::vector<std::string>& names = line.arguments();
  if (names.empty() != line.has("all")) {
    return Error(ErrorCode::invalid_argument, names.empty() ? "name nodes as node list shows them, or say --all"
                                                            : "either nodes or --all, not both");
  }
  if (names.empty()) return all;
  std::vector<jobs::NodeInfo> selected;
  for (const std::string& name : names) {
    const auto found = nodes_called(all, name);
    if (!found) {
      some_missing = true;
      if (names.size() == 1) return found.error();
      out.complain(concat("error: ", found.error().message()));
      continue;
    }
    for (const jobs::NodeInfo& node : *found) {
      const bool known =
          std::ranges::any_of(selected, [&](const jobs::NodeInfo& other) { return other.identity == node.identity; });
      if (!known) selected.push_back(node);
    }
  }
  return selected;
}

ExitCode signal_nodes(const ParsedLine& line, Output& out, jobs::NodeSignal signal, bool careful) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto all = (*session)->wait((*session)->store().list_nodes());
  if (!all) return out.fail(all.error());
  bool some_missing = false;
  const auto nodes = select_nodes(line, *all, out, some_missing);
  if (!nodes) return out.fail(nodes.error());
  if (!confirmed(line, out, to_string(signal), nodes->size(), careful, "node")) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  std::size_t told = 0;
  for (const jobs::NodeInfo& node : *nodes) {
    const auto sent = (*session)->wait((*session)->store().send_signal(node.identity, signal));
    if (!sent) return out.fail(sent.error());
    const bool done = *sent == jobs::ItemOutcome::done;
    if (out.json()) {
      out.print(JsonObject()
                    .text("node", node.identity)
                    .text("signal", to_string(signal))
                    .text("outcome", done ? "sent" : "missing")
                    .str() +
                "\n");
    }
    if (done) {
      ++told;
      if (signal == jobs::NodeSignal::stop && node.status.embedded) {
        out.say(concat("node ", worker::printable(node.identity),
                       " is part of another program: it only takes no more jobs"));
      }
    } else {
      some_missing = true;
      out.complain(concat("error: node ", worker::printable(node.identity), " has just gone"));
    }
  }
  if (!out.json() && told > 0) {
    out.print(concat("sent to ", told, told == 1 ? " node\n" : " nodes\n"));
  }
  if (!some_missing) return ExitCode::done;
  return told > 0 ? ExitCode::some_failed : ExitCode::not_found;
}

ExitCode run_quiet(const ParsedLine& line, Output& out) {
  return signal_nodes(line, out, jobs::NodeSignal::quiet, true);
}
ExitCode run_stop(const ParsedLine& line, Output& out) { return signal_nodes(line, out, jobs::NodeSignal::stop, true); }

}  // namespace

const Command node_quiet_command{
    {.name = "node quiet",
     .arguments = "[NODE…]",
     .summary = "Has nodes take no more jobs; what they run goes on.",
     .arguments_max = 1000,
     .options = node_control_options,
     .notes = "They hear it with their next heartbeat (5 s). There is no way back but a new start.",
     .examples = "  dagverk node quiet host1:4211:0a1b2c3d4e5f\n  dagverk node quiet --all --yes"},
    run_quiet,
    "3 no such node; 4 more than one and no --yes; 5 only some of them",
    "per node `node`, `signal`, `outcome`: `sent`, `missing`",
};

const Command node_stop_command{
    {.name = "node stop",
     .arguments = "[NODE…]",
     .summary = "Has nodes stop in order, as SIGTERM would.",
     .arguments_max = 1000,
     .options = node_control_options,
     .notes = "They hear it with their next heartbeat (5 s); running jobs have their stop timeout.",
     .examples = "  dagverk node stop host1:4211:0a1b2c3d4e5f\n  dagverk node stop --all --yes"},
    run_stop,
    "3 no such node; 4 more than one and no --yes; 5 only some of them",
    "per node `node`, `signal`, `outcome`: `sent`, `missing`",
};

}  // namespace dagverk::app
