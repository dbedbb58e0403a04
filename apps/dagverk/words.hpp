#pragma once

#include <span>
#include <string>

/// What words of a command line become.
namespace dagverk::app {

/// A list of arguments, each JSON if it parses, else a text.
[[nodiscard]] std::string arguments_json(std::span<const std::string> words);

/// `USER@HOST`, for whoever looks later.
[[nodiscard]] std::string who_asks();

}  // namespace dagverk::app
