#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/error.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/exit_code.hpp"
#include "dagverk/worker/terminal.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::app {

/// One JSON object, member by member. Texts that are not UTF-8 are scrubbed: U+FFFD for each wrong byte.
class JsonObject {
 public:
  JsonObject& text(std::string_view name, std::string_view value);
  JsonObject& number(std::string_view name, std::uint64_t value);
  JsonObject& boolean(std::string_view name, bool value);
  JsonObject& time(std::string_view name, std::optional<WallTime> value);  ///< left out when there is none
  JsonObject& raw(std::string_view name, std::string_view json);
  [[nodiscard]] std::string str() const { return "{" + members_ + "}"; }

 private:
  void key(std::string_view name);

  std::string members_;
};

[[nodiscard]] std::string json_text(std::string_view value);
/// `["a","b"]`, of values that are JSON already.
[[nodiscard]] std::string json_list(const std::vector<std::string>& values);

/// What a command prints: data on standard output in the form that was asked for, talk on standard error.
///
/// Semantics: a table with a heading for people, tabs without a heading with --plain, one JSON object a line with
///            --json. Control characters in cells are escaped. Colours on a terminal only, and not with NO_COLOR.
class Output {
 public:
  /// Reads --json, --plain, --quiet and --verbose.
  void configure(const worker::ParsedLine& line);

  [[nodiscard]] bool json() const noexcept { return json_; }
  [[nodiscard]] bool plain() const noexcept { return plain_; }
  [[nodiscard]] bool quiet() const noexcept { return quiet_; }

  /// Data as it is. Returns false when nobody reads any more: stop making more.
  bool print(std::string_view text);
  /// What became of one thing: a JSON object with its name as `member`, a row with --plain, or a sentence.
  void tell(std::string_view member, std::string_view name, std::string_view outcome, std::string_view sentence);
  /// One row of a table; the widths settle when the table ends.
  void heading(std::vector<std::string> cells);
  void row(std::vector<std::string> cells);
  bool end_table();

  /// Talk, unless --quiet.
  void say(std::string_view text) const;
  /// Talk that --quiet does not silence.
  void complain(std::string_view text) const;
  [[nodiscard]] worker::ExitCode fail(const Error& error) const;

  /// Whether a line on standard error can be drawn over: it is a terminal, and talk is wanted.
  [[nodiscard]] bool can_draw() const;
  /// Draws a line in the place of the one drawn before. Whatever else is said or printed erases it first.
  void draw(std::string_view line) const;
  void erase() const;

  /// How the program ends, given how the command did: a full disk under standard output is a failure, a closed one is
  /// not.
  [[nodiscard]] worker::ExitCode finish(worker::ExitCode code);

 private:
  bool json_ = false;
  bool plain_ = false;
  bool quiet_ = false;
  bool colour_ = false;
  mutable bool drawn_ = false;
  worker::Written state_ = worker::Written::all;
  std::vector<std::vector<std::string>> rows_;
  bool has_heading_ = false;
};

}  // namespace dagverk::app
