#pragma once

#include "dagverk/log/log_backend.hpp"

#include <string>
#include <string_view>

namespace dagverk {

/// A backend as configurations write it: `console` (or `console:stdout`), `file:PATH`, `json:PATH`,
/// `syslog+udp://HOST:PORT`, `syslog+tcp://HOST:PORT`.
/// Errors: `configuration`, naming what is wrong and what is known.
[[nodiscard]] Result<BackendSpec> backend_from_text(std::string name, std::string_view text);

}  // namespace dagverk
