#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace dagverk::app {
namespace {

ExitCode run_help(const ParsedLine& line, Output& out) {
  std::string topic;
  for (const std::string& word : line.arguments()) topic += concat(topic.empty() ? "" : " ", word);
  std::string text;
  if (topic.empty()) {
    text = overview();
  } else {
    std::vector<std::string_view> names;
    for (const Command* command : all_commands()) {
      names.push_back(command->syntax.name);
      if (command->syntax.name == topic) {
        text = worker::help_text("dagverk", command->syntax, worker::common_options());
      } else if (command->syntax.name.starts_with(topic + " ")) {
        text += concat("  dagverk ", command->syntax.name, "  ", command->syntax.summary, "\n");
      }
    }
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
     .examples = "  dagverk help enqueue\n  dagverk help job list"},
    run_help,
};

}  // namespace dagverk::app
