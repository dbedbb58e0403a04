#include "dagverk/worker/exit_code.hpp"

namespace dagverk::worker {

ExitCode exit_code_of(const Error& error) noexcept {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
    case ErrorCode::malformed_job:
    case ErrorCode::too_large: return ExitCode::usage;
    case ErrorCode::not_found: return ExitCode::not_found;
    case ErrorCode::already_exists:
    case ErrorCode::refused: return ExitCode::refused;
    case ErrorCode::unavailable: return ExitCode::unreachable;
    case ErrorCode::io:
    case ErrorCode::store_full:
    case ErrorCode::permission:
    case ErrorCode::malformed: return ExitCode::store_io;
    case ErrorCode::timeout:
    case ErrorCode::outcome_unknown: return ExitCode::try_again;
    case ErrorCode::configuration:
    case ErrorCode::not_a_store:
    case ErrorCode::store_newer:
    case ErrorCode::unsupported: return ExitCode::configuration;
    default: return ExitCode::failed;
  }
}

}  // namespace dagverk::worker
