#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/log/log_backend.hpp"

#include <string>
#include <string_view>

namespace dagverk {

/// A backend as configurations write it: all that `backend_from_text` knows, and the two that send over HTTP:
/// `http://HOST[:PORT]/PATH`, a JSON array for each batch; `loki:http://HOST[:PORT]`, Loki's push format, to
/// `/loki/api/v1/push` unless there is a path. Labels stand behind a `#`: `loki:http://logs:3100#app=shop&env=test`.
///
/// Semantics: batches, retries and shedding by the defaults of `BatchingOptions`, but 3 s at the end for what waits.
/// Errors:    `configuration` and `unsupported`, with what is wrong and what to type.
[[nodiscard]] Result<BackendSpec> any_backend_from_text(std::string name, std::string_view text);

}  // namespace dagverk
