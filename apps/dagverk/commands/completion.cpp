#include "completion.hpp"

#include "command.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {
namespace {

ExitCode run_completion(const ParsedLine& line, Output& out) {
  static constexpr std::string_view shells[] = {"bash", "zsh", "fish"};
  const std::string& shell = line.arguments().front();
  std::string script;
  if (shell == "bash") script = bash_completion();
  if (shell == "zsh") script = zsh_completion();
  if (shell == "fish") script = fish_completion();
  if (script.empty()) {
    const auto near = worker::nearest_word(shell, shells);
    out.complain(concat("error: no completion for \"", worker::printable(shell, 60), "\"; ",
                        near ? concat("did you mean ", *near, "?") : "there is bash, zsh, fish"));
    return ExitCode::usage;
  }
  if (out.json()) {
    out.print(JsonObject().text("shell", shell).text("script", script).str() + "\n");
  } else {
    out.print(script);
  }
  return ExitCode::done;
}

}  // namespace

const Command completion_command{
    {.name = "completion",
     .arguments = "bash|zsh|fish",
     .summary = "Prints a script that has the shell complete this command's words.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "bash: eval \"$(dagverk completion bash)\" in ~/.bashrc. zsh: into a file _dagverk of\n"
              "a folder in $fpath. fish: into ~/.config/fish/completions/dagverk.fish. Where a\n"
              "queue is expected, those of the store are offered.",
     .examples = "  eval \"$(dagverk completion bash)\"\n"
                 "  dagverk completion fish > ~/.config/fish/completions/dagverk.fish"},
    run_completion,
    "2 no such shell",
    "`shell`, `script`",
};

}  // namespace dagverk::app
