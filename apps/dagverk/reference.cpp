#include "reference.hpp"

#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

namespace dagverk::app {
namespace {

constexpr std::string_view head = R"(# The `dagverk` command

This file is what `dagverk help --markdown` prints; do not edit it. To write it anew: `dagverk help --markdown > docs/reference/cli.md`.
What the commands mean beyond their options is told in [cli-notes.md](cli-notes.md).

`dagverk NOUN VERB` or `dagverk VERB`; plural nouns are accepted (`dagverk jobs list`). Every level has `--help`.

)";

constexpr std::string_view exit_codes = R"(
## Exit codes

| code | means | code | means |
| --- | --- | --- | --- |
| 0 | done | 69 | the store cannot be reached now |
| 1 | the operation failed; standard output could not be written | 74 | the store's file or disk: unwritable, full, damaged |
| 2 | wrong use of the command line; a malformed or oversized job | 75 | timed out, or the outcome is unknown: try again |
| 3 | not found | 78 | the configuration is wrong, or names a file that is no store or of another version |
| 4 | refused by a rule: duplicate jid, running, not confirmed | 128+n | ended by signal n |
| 5 | bulk: some items failed; they are listed on standard error | | |

Any command may end with one of these; each says below what they mean of it in particular.

)";

/// A cell of a table: its bars would end it.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

std::string option_rows(std::span<const OptionSyntax> options) {
  std::string text = "| option | means |\n| --- | --- |\n";
  for (const OptionSyntax& option : options) {
    text += "| ";
    if (option.short_name != '\0') text += concat("`-", option.short_name, "`, ");
    text += concat("`--", option.name, option.value.empty() ? "" : " ", cell(option.value), "` | ", cell(option.help),
                   " |\n");
  }
  return text;
}

/// Sentences of a help, which come in lines, as one paragraph. Stars and angles mean nothing there.
std::string paragraph(std::string_view notes) {
  std::string text;
  for (const char c : notes) {
    if (c == '<' || c == '*') text += '\\';
    text += c == '\n' ? ' ' : c;
  }
  return text;
}

std::string anchor(std::string_view name) {
  std::string text(name);
  for (char& c : text) {
    if (c == ' ') c = '-';
  }
  return text;
}

/// `text` without the two spaces that the lines of an example begin with.
std::string flush_left(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    out += concat(line.substr(std::min<std::size_t>(line.find_first_not_of(' '), line.size())), "\n");
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return out;
}

std::string section(const Command& command) {
  const CommandSyntax& syntax = command.syntax;
  std::string text = concat("\n## ", syntax.name, "\n\n    dagverk ", syntax.name, syntax.arguments.empty() ? "" : " ",
                            syntax.arguments, " [OPTION…]\n\n", paragraph(syntax.summary));
  if (!syntax.notes.empty()) text += concat(" ", paragraph(syntax.notes));
  text += "\n\n";
  if (!syntax.options.empty()) text += concat(option_rows(syntax.options), "\n");
  if (!command.exits.empty()) text += concat("Exit codes: ", paragraph(command.exits), ".\n\n");
  if (!command.json.empty()) text += concat("With `--json`: ", command.json, ".\n\n");
  return text + concat("```sh\n", flush_left(syntax.examples), "```\n");
}

}  // namespace

std::string reference_markdown() {
  std::string text(head);
  text += "| command | does |\n| --- | --- |\n";
  for (const Command* command : all_commands()) {
    const CommandSyntax& syntax = command->syntax;
    text += concat("| [`", syntax.name, syntax.arguments.empty() ? "" : " ", cell(syntax.arguments), "`](#",
                   anchor(syntax.name), ") | ", cell(syntax.summary), " |\n");
  }
  text += concat("\n## Options of every command\n\n", option_rows(worker::common_options()), exit_codes,
                 "# The commands\n");
  for (const Command* command : all_commands()) text += section(*command);
  return text;
}

}  // namespace dagverk::app
