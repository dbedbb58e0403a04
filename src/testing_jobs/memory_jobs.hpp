#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/detail/next_turn.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/store_types.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <compare>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dagverk::testing_jobs {

/// What every store does, in plain containers: the model that the others are held against.
///
/// Semantics: each public function but `begin` is one operation of jobs::JobStore, of the same name. An operation first
///            checks all that it was given, then changes whatever it changes.
/// Threads:   one at a time.
class MemoryJobs {
 public:
  template <class T>
  using Batch = std::span<const T>;
  using Outcomes = Result<std::vector<jobs::ItemOutcome>>;

  /// Who asks for the next operation, and when. `options` outlives the operation.
  void begin(std::uint64_t store, const MemoryStoreOptions& options, WallTime now, SteadyTime steady_now) noexcept;
  /// What the operations since the last asking did that others wait for.
  struct Changes {
    bool ready = false;
    bool journal = false;
    bool asked = false;
  };
  [[nodiscard]] Changes take_changes() noexcept { return std::exchange(changes_, {}); }
  /// The store that registered these nodes is gone, and they with it.
  void end_nodes_of(std::uint64_t store) noexcept;

  // The life of a job: memory_jobs.cpp.
  Outcomes enqueue(Batch<jobs::EnqueueRequest> batch) { return put_in(batch, true); }
  Result<std::vector<jobs::TakenJob>> take(const jobs::TakeRequest& request);
  Outcomes settle(Batch<jobs::Settlement> settlements);
  Result<jobs::DuePage> peek_due(WallTime until, std::size_t limit) const;
  Outcomes promote(Batch<jobs::Promotion> promotions);
  Outcomes retry_now(Batch<jobs::RetryNow> batch);
  Outcomes remove(Batch<std::string> jids, std::string_view detail);
  Outcomes cancel(Batch<std::string> jids, std::string_view detail);
  Outcomes forget_cancels(Batch<std::string> jids);
  Outcomes keep_records(Batch<jobs::RecordUpdate> updates);
  Outcomes move(Batch<jobs::MoveJob> batch);
  Result<std::size_t> clear_queue(const std::string& queue, std::size_t limit, std::string_view detail);
  Result<bool> pause_queue(const std::string& queue, std::string by, std::string reason);
  Result<bool> resume_queue(const std::string& queue);
  Outcomes restore(Batch<jobs::StoredJob> batch, std::string_view detail);

  // Nodes: memory_nodes.cpp.
  Result<jobs::NodeEpoch> register_node(const jobs::NodeSpec& spec);
  Result<jobs::HeartbeatReply> heartbeat(jobs::NodeEpoch node, const jobs::Heartbeat& beat);
  Result<jobs::ItemOutcome> send_signal(const std::string& identity, jobs::NodeSignal signal);
  Result<std::size_t> retire_node(jobs::NodeEpoch node);
  Result<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit);
  [[nodiscard]] Result<std::vector<jobs::NodeInfo>> list_nodes() const;
  [[nodiscard]] Result<std::vector<jobs::NodeJob>> node_jobs(const std::string& identity, std::size_t limit) const;

  // Jobs that recur: memory_cron.cpp.
  Result<bool> put_cron(jobs::CronEntry entry);
  Result<bool> remove_cron(const std::string& name);
  [[nodiscard]] Result<jobs::CronTable> list_cron() const;
  Result<bool> pause_cron(const std::string& name, std::string by, std::string reason);
  Result<bool> resume_cron(const std::string& name);
  Result<jobs::CronLead> lead_cron(const std::string& identity, Duration lease);
  Result<jobs::CronFired> fire_cron(const jobs::CronFire& fire);

  // Unique keys: memory_locks.cpp.
  [[nodiscard]] Result<std::optional<jobs::HeldLock>> find_lock(const std::string& key) const;
  [[nodiscard]] Result<jobs::LockPage> list_locks(const std::string& cursor, std::size_t limit) const;
  Result<bool> release_lock(const std::string& key);

  // Limits: memory_limits.cpp.
  Result<bool> put_limit(const jobs::Limit& limit);
  Result<bool> remove_limit(jobs::LimitScope scope, const std::string& name);
  Result<bool> reset_limit(jobs::LimitScope scope, const std::string& name);
  [[nodiscard]] Result<std::vector<jobs::LimitInfo>> list_limits() const;
  /// Threads: any.
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept { return next_turn_.get(); }

  // Looking without touching: memory_reads.cpp.
  [[nodiscard]] Result<std::optional<jobs::StoredJob>> find(const std::string& jid) const;
  [[nodiscard]] Result<jobs::JobPage> list(const jobs::ListQuery& query) const;
  [[nodiscard]] Result<std::vector<jobs::QueueInfo>> queues(const std::string& after, std::size_t limit) const;
  [[nodiscard]] Result<jobs::StoreTotals> totals() const;
  [[nodiscard]] Result<std::vector<jobs::StoreFinding>> check() const;
  [[nodiscard]] Result<std::optional<std::string>> read_record(const std::string& jid) const;
  [[nodiscard]] Result<jobs::JournalPage> read_journal(const jobs::JournalQuery& query) const;
  [[nodiscard]] Result<jobs::JournalCursor> journal_end() const { return last_row_; }

 private:
  struct Job {
    jobs::StoredJob stored;
    bool given_back = false;            // ready: goes before its equals
    std::uint64_t execution = 0;        // running: of the token
    std::deque<WallTime> rescued_at{};  // the latest rescues, as many as count
    bool held_back = false;             // scheduled by its limit, or since then not taken yet
  };

  /// Where a job stands among all: by state, then as that state is listed.
  struct Place {
    jobs::JobState state = jobs::JobState::ready;
    std::string queue{};  // ready: whose; else empty
    std::int64_t first =
        std::numeric_limits<std::int64_t>::min();  // ready: minus its priority; running: by whom; else when
    bool in_line = false;                          // ready: false when it was given back
    jobs::JobHandle handle = 0;

    auto operator<=>(const Place&) const = default;
  };
  using Places = std::map<Place, Job*>;

  struct Queue {
    jobs::QueueCounts counts;
    std::optional<jobs::QueuePause> pause = std::nullopt;
  };

  struct Node {
    jobs::NodeInfo info;  // `lease_left` and `running` are worked out when asked for
    std::uint64_t store = 0;
    SteadyTime lease_until;
    bool dead = false;  // for good: it cannot renew any more
  };

  struct Signal {
    std::string identity;
    jobs::NodeSignal signal;
    WallTime sent_at;
    std::uint64_t told = 0;  // under which number the node heard of it; 0: it has not yet
  };

  struct Record {
    std::uint64_t execution = 0;
    WallTime updated_at;
    std::string text;
  };

  // --- jobs and where they are ---
  [[nodiscard]] static Place place_of(const Job& job);
  [[nodiscard]] static std::uint64_t& count_of(jobs::QueueCounts& counts, jobs::JobState state) noexcept;
  [[nodiscard]] jobs::QueueCounts& counts_of(const Job& job) { return queues_.at(job.stored.queue).counts; }
  /// Out of its place. What is changed of a job is changed between this and `enter`.
  void leave(Job& job);
  void enter(Job& job, jobs::JobState state);
  /// A new handle is a new place in line, and makes handles and tokens to the old place worthless.
  void renew_handle(Job& job);
  Job& add(jobs::StoredJob stored);
  void drop(Job& job, std::uint64_t jobs::QueueCounts::* as, jobs::JournalKind kind, std::string_view detail);
  [[nodiscard]] Job* find_job(const std::string& jid);
  [[nodiscard]] Job* find_held(const jobs::ClaimToken& token);

  /// The first of a state; `belongs` says whether an iterator is still in it.
  [[nodiscard]] Places::const_iterator first_of(jobs::JobState state) const { return places_.lower_bound({state}); }
  [[nodiscard]] bool belongs(Places::const_iterator at, jobs::JobState state) const {
    return at != places_.end() && at->first.state == state;
  }
  [[nodiscard]] static std::string cursor_at(const Place& place);
  [[nodiscard]] static Result<Place> place_at(std::string_view cursor, jobs::JobState state);
  [[nodiscard]] jobs::QueueCounts sums() const;
  [[nodiscard]] std::vector<Job*> waiting_in(const std::string& queue, std::size_t limit) const;
  [[nodiscard]] std::vector<Job*> held_by(jobs::NodeEpoch node, std::size_t limit) const;

  // --- limits ---
  using LimitId = std::pair<jobs::LimitScope, std::string>;
  /// As RateMeter.
  struct Metered {
    std::int64_t at_us = 0;
    std::int64_t used = 0;
  };
  [[nodiscard]] const jobs::Limit* limit_of(jobs::LimitScope scope, std::string_view name) const;
  [[nodiscard]] jobs::RateMeter meter_of(const jobs::Limit& limit, const std::string& key) const;
  void keep_meter(const jobs::Limit& limit, const std::string& key, const jobs::RateMeter& meter);
  void forget_meters(jobs::LimitScope scope, std::string_view name);
  [[nodiscard]] std::size_t room_in(const std::string& queue, std::size_t wanted);
  void use_queue_token(const std::string& queue);
  /// The job runs no more: others may.
  void free_slot(const Job& job);
  [[nodiscard]] bool may_begin(Job& job);
  void hold_back(Job& job, const jobs::Limit& limit, WallTime due);
  [[nodiscard]] std::vector<jobs::LimitUse> uses_of_keys(const jobs::Limit& limit) const;
  void look_again(jobs::LimitScope scope, std::string_view name);
  [[nodiscard]] jobs::LimitUse use_of_queue(const jobs::Limit& limit) const;
  void show_tokens(const jobs::Limit& limit, jobs::LimitUse& use) const;

  // --- bounds of queues ---
  /// Where a job goes that is about to be put in. Empty `queue`: nowhere.
  struct Admission {
    std::string queue;
    bool drops = false;
  };
  [[nodiscard]] bool has_room(const jobs::Limit& limit, const Job* leaving) const;
  /// `leaving`: leaves its place if the job is put in.
  [[nodiscard]] Admission admit(const jobs::EnqueueRequest& request, const Job* leaving) const;
  void drop_oldest(const std::string& queue, std::string_view jid);

  // --- the steps that operations share ---
  /// `bounded`: bounds of queues count.
  Outcomes put_in(Batch<jobs::EnqueueRequest> batch, bool bounded);
  /// Makes these queues known; all or, over the limit, none. Errors: `refused`.
  Result<void> make_queues(Batch<std::string> names);
  void settle_one(Job& job, const jobs::Settlement& settlement);
  void change_queue(Job& job, const std::string& queue);
  void give_back(Job& job);
  jobs::ItemOutcome make_ready(Job* job, const std::optional<std::string>& payload, jobs::JournalKind kind,
                               std::string_view detail);
  bool rescue(Job& job);
  /// What happened to a job: frees its lock, if that does, and goes into the journal.
  void note(const Job& job, jobs::JournalKind kind, std::string_view detail);
  [[nodiscard]] jobs::HeldLock* held_lock(const std::string& key);
  void forget_lock(std::map<std::string, jobs::HeldLock>::iterator lock);
  void forget_expired_locks();
  [[nodiscard]] jobs::ItemOutcome claim(const jobs::EnqueueRequest& request, bool bounded, Admission& admission);
  void reschedule(Job& job, std::optional<WallTime> due, std::string_view detail);
  void free_lock(const std::string& jid, jobs::JournalKind kind);
  std::size_t trim_dead();
  std::size_t trim_journal();
  void hand_signals(const Node& node, std::uint64_t seen, jobs::HeartbeatReply& reply);
  [[nodiscard]] Result<void> check_may_take(jobs::NodeEpoch node) const;
  [[nodiscard]] bool is_dead(const Node& node) const noexcept { return node.dead || node.lease_until < steady_now_; }
  [[nodiscard]] std::uint64_t next_number() noexcept { return ++last_number_; }

  // Of the operation.
  std::uint64_t store_ = 0;
  const MemoryStoreOptions* options_ = nullptr;
  WallTime now_;
  SteadyTime steady_now_;
  Changes changes_;

  std::unordered_map<std::string, Job> jobs_;            // all there are, by jid
  std::unordered_map<jobs::JobHandle, Job*> by_handle_;  // the same
  Places places_;                                        // the same, in order
  std::map<std::string, Queue, std::less<>> queues_;
  std::map<jobs::NodeEpoch, Node> nodes_;
  std::map<std::string, Record, std::less<>> records_;
  std::map<std::string, jobs::HeldLock> unique_;                // by key
  std::unordered_map<std::string, std::string> unique_by_jid_;  // the key that a job took last
  std::vector<jobs::CancelWish> cancels_;                       // the oldest first
  std::vector<Signal> signals_;                                 // in the order they were sent
  std::map<std::string, jobs::CronEntry> cron_;
  std::uint64_t cron_version_ = 0;
  std::string cron_leader_;  // empty: nobody
  SteadyTime cron_lead_until_{};
  std::map<LimitId, jobs::Limit> limits_;
  std::map<LimitId, Metered> meters_;                        // by scope and whole key
  std::map<std::string, std::uint64_t, std::less<>> slots_;  // in use, by whole key
  std::map<std::string, Places, std::less<>> lines_;         // who waits, by whole key
  jobs::detail::NextTurn next_turn_;
  std::deque<jobs::JournalRow> journal_;
  jobs::JournalCursor last_row_ = 0;     // of the newest row ever
  jobs::JournalCursor trimmed_row_ = 0;  // of the newest row that was trimmed
  std::uint64_t last_number_ = 0;        // of handles, executions, epochs and what signals were told under
  std::uint64_t duplicates_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t locked_ = 0;
};

}  // namespace dagverk::testing_jobs
