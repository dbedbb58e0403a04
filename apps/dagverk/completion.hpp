#pragma once

#include <string>

/// Scripts that have a shell complete the words of `dagverk`, made from the table of commands.
///
/// Semantics: completed are commands, verbs, options, states of jobs, files where an option or argument is one, and
///            queues, which are asked of the store that the words typed so far would use by default.
namespace dagverk::app {

[[nodiscard]] std::string bash_completion();
[[nodiscard]] std::string zsh_completion();
[[nodiscard]] std::string fish_completion();

}  // namespace dagverk::app
