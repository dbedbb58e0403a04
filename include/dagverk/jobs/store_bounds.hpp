#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <string_view>

namespace dagverk::jobs {

// What every JobStore refuses before it does anything: the bounds of store_types.hpp.
// Threads: any. Errors: `invalid_argument`, or `too_large` for texts over their limit; the message names the part.

/// 1 to batch_count_limit items; `what` names the operation.
[[nodiscard]] Result<void> check_batch(std::string_view what, std::size_t count);
/// A payload and the detail of its journal row.
[[nodiscard]] Result<void> check_sizes(std::string_view payload, std::string_view detail);
/// A key that a job can hold.
[[nodiscard]] Result<void> check_lock_key(std::string_view key);
/// The key and the expiry of a lock.
[[nodiscard]] Result<void> check(const UniqueLock& lock);
/// The names, the priority, the sizes and the lock of a job.
[[nodiscard]] Result<void> check(const EnqueueRequest& job);
/// The names and sizes of a move.
[[nodiscard]] Result<void> check(const MoveJob& job);
/// A queue to pause, by whom and why.
[[nodiscard]] Result<void> check_pause(std::string_view queue, std::string_view by, std::string_view reason);
/// The same of a job that comes from another store, and the sizes of its reason and of its journal row's detail.
[[nodiscard]] Result<void> check(const StoredJob& job, std::string_view detail);
/// The sizes of a settlement, and that its journal kind fits its action.
[[nodiscard]] Result<void> check(const Settlement& settlement);
/// The names and sizes of an entry; neither its schedule nor its zone is read.
[[nodiscard]] Result<void> check(const CronEntry& entry);
[[nodiscard]] Result<void> check(const CronFire& fire);
/// The name of an entry.
[[nodiscard]] Result<void> check_cron_name(std::string_view name);
/// An entry to pause, by whom and why.
[[nodiscard]] Result<void> check_cron_pause(std::string_view name, std::string_view by, std::string_view reason);
/// Who wants to lead, and for how long.
[[nodiscard]] Result<void> check_cron_lead(std::string_view identity, Duration lease);
[[nodiscard]] Result<void> check(const NodeSpec& spec);
[[nodiscard]] Result<void> check(const RecordUpdate& update);
[[nodiscard]] Result<void> check(const Heartbeat& beat);

}  // namespace dagverk::jobs
