#pragma once

#include <string>

namespace dagverk::app {

/// The reference of the whole command as Markdown: docs/reference/cli.md, byte for byte.
[[nodiscard]] std::string reference_markdown();

}  // namespace dagverk::app
