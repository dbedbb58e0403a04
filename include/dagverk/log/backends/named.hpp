#pragma once

#include "dagverk/log/log_backend.hpp"

#include <string>
#include <string_view>

namespace dagverk {

/// What `backend_from_text` knows, for messages.
inline constexpr std::string_view log_backend_texts =
    "console, console:stdout, file:PATH, json:PATH, syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT";

/// Whether `text` begins like one of those.
[[nodiscard]] bool has_log_backend_scheme(std::string_view text) noexcept;

/// A backend as configurations write it: `console` (or `console:stdout`), `file:PATH`, `json:PATH`,
/// `syslog+udp://HOST:PORT`, `syslog+tcp://HOST:PORT`. With those that send over HTTP: `any_backend_from_text` of
/// dagverk/log_upload/named_upload.hpp.
/// Errors: `configuration`, naming what is wrong and what is known.
[[nodiscard]] Result<BackendSpec> backend_from_text(std::string name, std::string_view text);

}  // namespace dagverk
