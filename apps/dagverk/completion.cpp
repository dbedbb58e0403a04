#include "completion.hpp"

#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

namespace dagverk::app {
namespace {

/// What may stand where a value is expected.
enum class Values : std::uint8_t { anything, queues, states, files };

constexpr std::string_view state_words = "ready scheduled retrying running dead";

Values values_of(const OptionSyntax& option) {
  if (option.name == "queue" || option.name == "to") return Values::queues;
  if (option.name == "state") return Values::states;
  if (option.value.starts_with("FILE") || option.value == "PATH") return Values::files;
  return Values::anything;
}

Values arguments_of(const CommandSyntax& syntax) {
  if (syntax.name.starts_with("queue ") && syntax.arguments_max > 0) return Values::queues;
  if (syntax.arguments.find("FILE") != std::string_view::npos) return Values::files;
  return Values::anything;
}

std::string_view noun_of(std::string_view name) { return name.substr(0, name.find(' ')); }
bool has_verb(std::string_view name) { return name.find(' ') != std::string_view::npos; }

/// Each noun and each command without one, in the order of the help.
std::vector<std::string_view> first_words() {
  std::vector<std::string_view> words;
  for (const Command* command : all_commands()) {
    const std::string_view noun = noun_of(command->syntax.name);
    if (std::ranges::find(words, noun) == words.end()) words.push_back(noun);
  }
  return words;
}

std::string verbs_of(std::string_view noun) {
  std::string verbs;
  for (const Command* command : all_commands()) {
    const std::string_view name = command->syntax.name;
    if (has_verb(name) && noun_of(name) == noun) {
      verbs += concat(verbs.empty() ? "" : " ", name.substr(noun.size() + 1));
    }
  }
  return verbs;
}

template <class Visit>
void for_each_option(const CommandSyntax& syntax, const Visit& visit) {
  for (const OptionSyntax& option : syntax.options) visit(option);
  for (const OptionSyntax& option : worker::common_options()) visit(option);
}

/// `--queue -q --json …`
std::string options_of(const CommandSyntax& syntax) {
  std::string words;
  for_each_option(syntax,
                  [&](const OptionSyntax& option) { words += concat(words.empty() ? "" : " ", "--", option.name); });
  return words;
}

/// The options of all commands that take such values, as a pattern of the shell: `--queue|-q|--to`.
std::string pattern_of(Values values) {
  std::set<std::string> words;
  for (const Command* command : all_commands()) {
    for_each_option(command->syntax, [&](const OptionSyntax& option) {
      if (option.value.empty() || values_of(option) != values) return;
      words.insert(concat("--", option.name));
      if (option.short_name != '\0') words.insert(concat("-", option.short_name));
    });
  }
  std::string pattern;
  for (const std::string& word : words) pattern += concat(pattern.empty() ? "" : "|", word);
  return pattern;
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string text;
  for (const std::string_view word : words) text += concat(text.empty() ? "" : " ", word);
  return text;
}

/// What bash and zsh do alike: the words so far become `command`, and it decides about `kind` and `list`. The caller's
/// script has set `before` (the words before the one to complete, without the program), `current` and `previous`.
std::string decisions() {
  std::string text = concat(
      "  local command='' word='' skip='' kind='' list=''\n"
      "  for word in \"${before[@]}\"; do\n"
      "    if [[ -n $skip ]]; then skip=''; continue; fi\n"
      "    case $word in\n"
      "      --config|--store) skip=1 ;;\n"
      "      -*) ;;\n"
      "      *) case $command in\n"
      "           '') command=$word ;;\n");
  for (const std::string_view noun : first_words()) {
    if (!verbs_of(noun).empty()) text += concat("           ", noun, ") command=\"", noun, " $word\" ;;\n");
  }
  text += concat(
      "         esac ;;\n"
      "    esac\n"
      "  done\n"
      "  case $previous in\n"
      "    ",
      pattern_of(Values::queues), ") kind=queues ;;\n    ", pattern_of(Values::states), ") list='", state_words,
      "' kind=words ;;\n    ", pattern_of(Values::files), ") kind=files ;;\n    ", pattern_of(Values::anything),
      ") kind=anything ;;\n"
      "  esac\n"
      "  if [[ -z $kind ]]; then\n"
      "    kind=words\n"
      "    case $command in\n"
      "      '') list='",
      joined(first_words()), "' ;;\n");
  for (const std::string_view noun : first_words()) {
    if (const std::string verbs = verbs_of(noun); !verbs.empty()) {
      text += concat("      ", noun, ") list='", verbs, " --help' ;;\n");
    }
  }
  for (const Command* command : all_commands()) {
    const CommandSyntax& syntax = command->syntax;
    text += concat("      '", syntax.name, "') list='", options_of(syntax), "'");
    if (arguments_of(syntax) == Values::queues) text += " kind=queues";
    if (arguments_of(syntax) == Values::files) text += " kind=files";
    if (syntax.name == "completion") text += "; [[ $current != -* ]] && list='bash zsh fish'";
    text += " ;;\n";
  }
  return text +
         "    esac\n"
         "    [[ $current == -* ]] && kind=words\n"
         "  fi\n";
}

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

}  // namespace

std::string bash_completion() {
  return concat(
      "# Completes the words of dagverk in bash. Made by: dagverk completion bash\n"
      "_dagverk() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=''\n"
      "  local -a before=()\n"
      "  if (( COMP_CWORD > 1 )); then\n"
      "    previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
      "    before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n"
      "  fi\n",
      decisions(),
      "  COMPREPLY=()\n"
      "  case $kind in\n"
      "    queues) list=$(\"${COMP_WORDS[0]}\" queue list --plain 2>/dev/null | cut -f1) ;;\n"
      "    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;;\n"
      "    anything) return ;;\n"
      "  esac\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$current\")\n"
      "}\n"
      "complete -F _dagverk dagverk\n");
}

std::string zsh_completion() {
  return concat(
      "#compdef dagverk\n"
      "# Completes the words of dagverk in zsh. Made by: dagverk completion zsh\n"
      "_dagverk() {\n"
      "  local current=\"${words[CURRENT]}\" previous=''\n"
      "  local -a before=()\n"
      "  if (( CURRENT > 2 )); then\n"
      "    previous=\"${words[CURRENT-1]}\"\n"
      "    before=(\"${(@)words[2,CURRENT-1]}\")\n"
      "  fi\n",
      decisions(),
      "  case $kind in\n"
      "    queues) compadd -- ${(f)\"$(\"${words[1]}\" queue list --plain 2>/dev/null | cut -f1)\"} ;;\n"
      "    files) _files ;;\n"
      "    words) compadd -- ${=list} ;;\n"
      "  esac\n"
      "}\n"
      "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _dagverk \"$@\"; else compdef _dagverk dagverk; fi\n");
}

std::string fish_completion() {
  std::string text =
      "# Completes the words of dagverk in fish. Made by: dagverk completion fish\n"
      "function __dagverk_words\n"
      "  set -l skip 0\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    if test $skip = 1\n"
      "      set skip 0\n"
      "    else if contains -- $word --config --store\n"
      "      set skip 1\n"
      "    else if not string match -q -- '-*' $word\n"
      "      echo $word\n"
      "    end\n"
      "  end\n"
      "end\n"
      "function __dagverk_at\n"
      "  set -l typed (__dagverk_words)\n"
      "  test (count $typed) -eq (count $argv); and test \"$typed\" = \"$argv\"\n"
      "end\n"
      "function __dagverk_in\n"
      "  set -l typed (__dagverk_words)\n"
      "  test (count $typed) -ge (count $argv); or return 1\n"
      "  set -l head $typed[1..(count $argv)]\n"
      "  test \"$head\" = \"$argv\"\n"
      "end\n"
      "function __dagverk_queues\n"
      "  dagverk queue list --plain 2>/dev/null | cut -f1\n"
      "end\n"
      "complete -c dagverk -f\n";
  const auto word = [&](std::string_view at, std::string_view offered, std::string_view what) {
    text += concat("complete -c dagverk -n '__dagverk_at", at.empty() ? "" : " ", at, "' -a ", offered, " -d ",
                   quoted(what), "\n");
  };
  for (const OptionSyntax& option : worker::common_options()) {
    text += concat("complete -c dagverk -l ", option.name);
    if (option.short_name != '\0') text += concat(" -s ", option.short_name);
    if (!option.value.empty()) text += values_of(option) == Values::files ? " -r -F" : " -x";
    text += concat(" -d ", quoted(option.help), "\n");
  }
  for (const Command* command : all_commands()) {
    const CommandSyntax& syntax = command->syntax;
    const std::string_view noun = noun_of(syntax.name);
    if (has_verb(syntax.name)) word(noun, syntax.name.substr(noun.size() + 1), syntax.summary);
    if (!has_verb(syntax.name)) word("", noun, syntax.summary);
    for (const OptionSyntax& option : syntax.options) {
      text += concat("complete -c dagverk -n '__dagverk_in ", syntax.name, "' -l ", option.name);
      if (option.short_name != '\0') text += concat(" -s ", option.short_name);
      if (!option.value.empty()) {
        const Values values = values_of(option);
        text += values == Values::files    ? " -r -F"
                : values == Values::queues ? " -x -a '(__dagverk_queues)'"
                : values == Values::states ? concat(" -x -a '", state_words, "'")
                                           : " -x";
      }
      text += concat(" -d ", quoted(option.help), "\n");
    }
    if (arguments_of(syntax) == Values::queues) {
      text += concat("complete -c dagverk -n '__dagverk_in ", syntax.name, "' -a '(__dagverk_queues)'\n");
    }
    if (arguments_of(syntax) == Values::files) {
      text += concat("complete -c dagverk -n '__dagverk_in ", syntax.name, "' -F\n");
    }
    if (syntax.name == "completion") text += "complete -c dagverk -n '__dagverk_at completion' -a 'bash zsh fish'\n";
  }
  for (const std::string_view noun : first_words()) {
    if (!verbs_of(noun).empty()) word("", noun, noun_summary(noun));
  }
  return text;
}

}  // namespace dagverk::app
