#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/worker/configuration.hpp"

#include <cstdint>
#include <memory>

namespace dagverk::worker {

/// What to do when the store is not there yet.
enum class MissingStore : std::uint8_t {
  create,  ///< make it
  refuse,  ///< `not_found`, unless it is the default one: looking must not leave files behind for a mistyped name
};

/// Opens the store that `configuration` names: a file or a Redis server. The journal of the latter is kept only when
/// the configuration says so in so many words. The folder of the default store is made when it is missing, with mode
/// 0700; folders of others are not.
///
/// Threads:  blocks: never on a scheduler thread.
/// Errors:   those of the store; a missing folder is `configuration`.
/// Lifetime: as the store: goes before `runtime`.
[[nodiscard]] Result<std::unique_ptr<jobs::JobStore>> open_store(RuntimeBase& runtime,
                                                                 const Configuration& configuration,
                                                                 MissingStore missing);

}  // namespace dagverk::worker
