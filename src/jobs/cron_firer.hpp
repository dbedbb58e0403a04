#pragma once

#include "jobs/cron_slots.hpp"
#include "jobs/node_env.hpp"

#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// Enqueues the jobs that recur, on the one node of all that leads.
///
/// Semantics: puts its program's own entries into the store, then asks to lead: again and again when it does not, each
///            second when it does, which also tells whether an entry has changed. The time is the store's. Whatever
///            this process believes, the store fires no slot twice.
/// Threads:   reads a zone's file, of some kilobytes, when an entry names a zone for the first time.
class CronFirer : public GenServer<CronFirer> {
 public:
  struct Wake {
    std::uint64_t round;
  };
  /// Fires nothing from now on, and lets another node lead.
  struct Quiet {
    using Reply = bool;
  };

  explicit CronFirer(NodeEnvPtr env) : env_(std::move(env)), own_(env_->registry.cron_entries()) {}

  void init();
  Async<void> handle_info(Wake wake);
  Async<bool> handle_call(Quiet quiet);

  static constexpr Duration lease = std::chrono::seconds(15);
  static constexpr Duration follow_interval = std::chrono::seconds(5);  // between asking to lead
  static constexpr Duration lead_interval = std::chrono::seconds(1);    // the longest time that a change goes unseen
  static_assert(lease + follow_interval < cron_lead_limit, "another node leads within the limit");

 private:
  /// An entry that can be fired.
  struct Planned {
    CronEntry entry;
    CronSchedule schedule;
    std::optional<WallTime> next;
  };

  /// Does what is due; returns when to look again.
  [[nodiscard]] Async<Result<Duration>> work();
  [[nodiscard]] Async<Result<void>> put_own(WallTime now);
  [[nodiscard]] Async<Result<void>> read_table();
  [[nodiscard]] Async<Result<void>> fire(Planned& planned, WallTime now);
  [[nodiscard]] Result<CronSchedule> schedule_of(const CronEntry& entry);
  [[nodiscard]] Result<CronFire> fire_of(const Planned& planned, const DueSlots& due);
  void tell(const CronFire& fire) const;
  void sleep_for(Duration delay);

  NodeEnvPtr env_;
  std::vector<CronEntry> own_;  // that are still to be put
  std::vector<Planned> plan_;
  std::optional<std::uint64_t> version_;  // of the table in plan_; none: it must be read
  std::map<std::string, std::shared_ptr<const TimeZone>, std::less<>> zones_;  // shared with the schedules
  bool leads_ = false;
  bool quiet_ = false;
  Backoff backoff_;
  StoreHealth health_{"cron"};
  std::uint64_t round_ = 0;  // older wake-ups are void
};

}  // namespace dagverk::jobs
