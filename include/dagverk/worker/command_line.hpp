#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Command lines as tables: one `CommandSyntax` says what a command takes, and parsing, help and suggestions follow.
namespace dagverk::worker {

/// One option of a command.
struct OptionSyntax {
  char short_name = '\0';       ///< `-q`; NUL: long form only
  std::string_view name;        ///< `--name`, without the dashes
  std::string_view value = {};  ///< what stands for the value in the help; empty: a switch
  std::string_view help;
};

/// One command. Lifetime: everything it names is constant for the program's life.
struct CommandSyntax {
  std::string_view name;            ///< the words that choose it: `job list`
  std::string_view arguments = {};  ///< for the usage line: `CLASS [ARG…|-]`
  std::string_view summary;         ///< one sentence, at most 70 characters
  std::size_t arguments_min = 0;
  std::size_t arguments_max = 0;
  std::span<const OptionSyntax> options = {};  ///< its own; the common ones are given to the functions below
  std::string_view notes = {};                 ///< small print for the help; lines of at most 78 characters
  std::string_view examples = {};              ///< two lines, each beginning with two spaces
};

/// A command line that obeyed its syntax.
class ParsedLine {
 public:
  [[nodiscard]] const std::vector<std::string>& arguments() const noexcept { return arguments_; }
  [[nodiscard]] bool has(std::string_view option) const noexcept { return value(option).has_value(); }
  /// The last value given, empty for a switch; none when the option was not given.
  [[nodiscard]] std::optional<std::string_view> value(std::string_view option) const noexcept;
  /// All values given, in order.
  [[nodiscard]] std::vector<std::string> values(std::string_view option) const;

 private:
  friend Result<ParsedLine> parse_command_line(const CommandSyntax& syntax, std::span<const OptionSyntax> common,
                                               std::span<const std::string> words);

  std::vector<std::string> arguments_;
  std::vector<std::pair<std::string_view, std::string>> options_;
};

/// Reads `words`, which follow the command's name.
///
/// Semantics: options and arguments may mix; `--` ends the options. `--name VALUE`, `--name=VALUE`, `-n VALUE`,
///            `-nVALUE`; switches of one letter may be joined. `-` alone and negative numbers are arguments. Arguments
///            are taken byte for byte. With `--help` among the options nothing else is checked.
/// Errors:    `invalid_argument`, naming the word and the nearest option there is.
[[nodiscard]] Result<ParsedLine> parse_command_line(const CommandSyntax& syntax, std::span<const OptionSyntax> common,
                                                    std::span<const std::string> words);

/// The help of one command: usage, summary, options, the names of the common ones, examples.
[[nodiscard]] std::string help_text(std::string_view program, const CommandSyntax& syntax,
                                    std::span<const OptionSyntax> common);

/// The candidate that `word` was probably meant to be: at most a third of its letters wrong. None when nothing is near.
[[nodiscard]] std::optional<std::string_view> nearest_word(std::string_view word,
                                                           std::span<const std::string_view> candidates);

/// `text` for a message or a terminal: control characters and bytes that are not UTF-8 as `\xNN`, so that nothing in it
/// can move the cursor or colour the screen. `size_limit`: longer texts are cut and end in `…`.
[[nodiscard]] std::string printable(std::string_view text, std::size_t size_limit = static_cast<std::size_t>(-1));

}  // namespace dagverk::worker
