#include "command.hpp"
#include "reference.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace dagverk::app {
namespace {

constexpr OptionSyntax help_options[] = {
    {'\0', "markdown", {}, "the reference of all commands, as docs/reference/cli.md has it"},
};

/// The verbs of a noun, and an example of the first two; of a noun with one verb, that. Empty when it is no noun.
std::string noun_help(std::string_view noun) {
  std::vector<const CommandSyntax*> verbs;
  std::size_t width = 0;
  for (const Command* command : all_commands()) {
    if (!command->syntax.name.starts_with(concat(noun, " "))) continue;
    verbs.push_back(&command->syntax);
    width = std::max(width, command->syntax.name.size());
  }
  if (verbs.empty()) return {};
  if (verbs.size() == 1) return worker::help_text("dagverk", *verbs.front(), worker::common_options());
  std::string text = concat("usage: dagverk ", noun, " VERB [OPTION…]\n\n", noun_summary(noun), "\n\n");
  for (const CommandSyntax* verb : verbs) {
    text += concat("  dagverk ", verb->name, std::string(width - verb->name.size() + 2, ' '), verb->summary, "\n");
  }
  text += "\nEach has --help.\n\nExamples:\n";
  for (const CommandSyntax* verb : {verbs[0], verbs[1]}) {
    text += concat(verb->examples.substr(0, verb->examples.find('\n')), "\n");
  }
  return text;
}

ExitCode run_help(const ParsedLine& line, Output& out) {
  std::string topic;
  for (const std::string& word : line.arguments()) topic += concat(topic.empty() ? "" : " ", word);
  std::string text;
  if (line.has("markdown")) {
    text = reference_markdown();
  } else if (topic.empty()) {
    text = overview();
  } else {
    std::vector<std::string_view> names;
    for (const Command* command : all_commands()) {
      names.push_back(command->syntax.name);
      if (command->syntax.name == topic) {
        text = worker::help_text("dagverk", command->syntax, worker::common_options());
      }
    }
    if (text.empty()) text = noun_help(topic);
    if (text.empty()) {
      const auto near = worker::nearest_word(topic, names);
      out.complain(concat("error: no help about \"", worker::printable(topic, 60), "\"",
                          near ? concat("; did you mean \"", *near, "\"?") : "; dagverk help lists the commands"));
      return ExitCode::usage;
    }
  }
  if (out.json()) {
    out.print(JsonObject().text("topic", topic).text("text", text).str() + "\n");
  } else {
    out.print(text);
  }
  return ExitCode::done;
}

}  // namespace

const Command help_command{
    {.name = "help",
     .arguments = "[TOPIC]",
     .summary = "Explains a command.",
     .arguments_max = 2,
     .options = help_options,
     .examples = "  dagverk help enqueue\n  dagverk help job list"},
    run_help,
    "2 no such topic",
    "`topic`, `text`",
};

}  // namespace dagverk::app
