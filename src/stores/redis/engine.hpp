#pragma once

#include "stores/redis/change_hub.hpp"
#include "stores/redis/element.hpp"
#include "stores/redis/metrics.hpp"
#include "stores/redis/scripts.hpp"
#include "stores/redis/scripts_cron.hpp"
#include "stores/redis/scripts_limits.hpp"
#include "stores/redis/scripts_unique.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/detail/next_turn.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/store_bounds.hpp"
#include "dagverk/net/redis_client.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stores/redis/redis_options.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dagverk::stores::redis {

/// What one item of the script `change` says; the script's comment says what the fields mean.
struct Change {
  struct Count {
    std::string queue;
    std::string_view field;
    int by = 0;
  };

  char from = 'h';  ///< h: a node's hash, f: the same, finished; z: a sorted set; l: a list, t: its right end alone
  std::string key;
  std::string member;
  std::string_view to = {};  ///< empty, X (out by somebody's wish), L, R or Z
  std::string to_key = {};
  std::string element = {};
  std::string score = {};
  std::string jid = {};
  std::string_view hint = {};  ///< empty, q, s, r or d
  std::string tail = {};
  std::int64_t ttl_seconds = 0;
  std::string rescues = {};
  std::string_view statistics = {};
  bool from_left = false;  ///< in a list: it is nearer to the left end
  std::size_t reach = 0;   ///< in a list: it is at most so far from its nearer end
  std::vector<Count> counts = {};
  std::optional<jobs::JournalKind> kind = std::nullopt;  ///< none: no journal row
  std::string queue = {};                                ///< of the row
  std::string class_name = {};
  std::string detail = {};
};

/// Runs that are over and leave no journal row, by what they have in common: one group of the script `change`.
struct EndedRuns {
  jobs::NodeEpoch node = 0;
  std::string queue = {};
  std::string_view field = {};  ///< what they count as
  std::vector<std::uint64_t> executions = {};
  std::vector<std::string> jids = {};
  std::vector<std::size_t> places = {};  ///< in the caller's batch
};

/// Where a job is, and its element.
struct Located {
  jobs::JobState state = jobs::JobState::ready;
  std::string key;
  std::string element;
  std::string score = {};      ///< in a sorted set
  std::size_t position = 0;    ///< in a list: how many are in front of it
  jobs::NodeEpoch node = 0;    ///< running
  std::string execution = {};  ///< running
  WallTime started_at{};       ///< running
  Element read;
  std::string reason = {};  ///< dead: why
};

/// The store's work: coroutines of whichever process called, which share a connection.
///
/// Threads: any, several at once. Guarded are a few tables of what this object has in hand; all else is on the server.
class Engine {
 public:
  template <class T>
  using Reply = Async<Result<T>>;
  using Outcomes = Async<Result<std::vector<jobs::ItemOutcome>>>;

  /// Blocks.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> open(RuntimeBase& runtime, RedisStoreOptions options);
  Engine(RuntimeBase& runtime, RedisStoreOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  Outcomes enqueue(std::vector<jobs::EnqueueRequest> jobs);
  Reply<std::vector<jobs::TakenJob>> take(jobs::TakeRequest request);
  Outcomes settle(std::vector<jobs::Settlement> settlements);
  [[nodiscard]] bool keeps_metrics() const noexcept { return options_.metrics != MetricsFormat::none; }
  Reply<jobs::DuePage> peek_due(WallTime now, std::size_t limit);
  Outcomes promote(std::vector<jobs::Promotion> promotions);
  Reply<jobs::NodeEpoch> register_node(jobs::NodeSpec spec);
  Reply<jobs::HeartbeatReply> heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat);
  Reply<jobs::ItemOutcome> send_signal(std::string identity, jobs::NodeSignal signal);
  Reply<std::size_t> retire_node(jobs::NodeEpoch node);
  Reply<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit);
  Reply<std::vector<jobs::NodeInfo>> list_nodes();
  Reply<std::vector<jobs::NodeJob>> node_jobs(std::string identity, std::size_t limit);
  Reply<bool> put_cron(jobs::CronEntry entry);
  Reply<bool> remove_cron(std::string name);
  Reply<jobs::CronTable> list_cron();
  Reply<bool> pause_cron(std::string name, std::string by, std::string reason);
  Reply<bool> resume_cron(std::string name);
  Reply<jobs::CronLead> lead_cron(std::string identity, Duration lease);
  Reply<jobs::CronFired> fire_cron(jobs::CronFire fire);
  Reply<bool> put_limit(jobs::Limit limit);
  Reply<bool> remove_limit(jobs::LimitScope scope, std::string name);
  Reply<std::vector<jobs::LimitInfo>> list_limits();
  Reply<bool> reset_limit(jobs::LimitScope scope, std::string name);
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept { return next_turn_.get(); }
  Reply<std::optional<jobs::StoredJob>> find(std::string jid);
  Reply<jobs::JobPage> list(jobs::ListQuery query);
  Outcomes retry_now(std::vector<jobs::RetryNow> jobs);
  Outcomes remove(std::vector<std::string> jids, std::string detail);
  Outcomes cancel(std::vector<std::string> jids, std::string detail);
  Reply<std::optional<jobs::HeldLock>> find_lock(std::string key);
  Reply<jobs::LockPage> list_locks(std::string cursor, std::size_t limit);
  Reply<bool> release_lock(std::string key);
  Outcomes forget_cancels(std::vector<std::string> jids);
  Outcomes keep_records(std::vector<jobs::RecordUpdate> updates);
  Reply<std::optional<std::string>> read_record(std::string jid);
  Outcomes move(std::vector<jobs::MoveJob> jobs);
  Reply<std::size_t> clear_queue(std::string queue, std::size_t limit, std::string detail);
  Reply<bool> pause_queue(std::string queue, std::string by, std::string reason);
  Reply<bool> resume_queue(std::string queue);
  Reply<std::vector<jobs::QueueInfo>> queues(std::string after, std::size_t limit);
  Reply<jobs::StoreTotals> totals();
  Reply<std::optional<std::string>> write_refusal();
  Outcomes restore(std::vector<jobs::StoredJob> jobs, std::string detail);
  Reply<std::vector<jobs::StoreFinding>> look_for_faults();
  Reply<std::string> backup(std::string file);
  Reply<jobs::JournalPage> read_journal(jobs::JournalQuery query);
  Reply<jobs::JournalCursor> journal_end();
  [[nodiscard]] std::uint64_t change_count(jobs::ChangeKind kind) const noexcept { return hub_->count(kind); }
  Reply<std::uint64_t> wait_for_change(jobs::ChangeKind kind, std::uint64_t seen, Duration limit);

 private:
  /// What a job in somebody's hands was when this object gave it to them.
  struct Held {
    jobs::NodeEpoch node = 0;
    std::string jid;
    std::string queue;
    std::string class_name;
    bool journaled = true;
    std::string limit_key = {};
    std::string element = {};  ///< only when it was read for its sake
  };
  /// What a call of `enqueue` hears.
  struct EnqueueAnswer {
    std::vector<jobs::ItemOutcome> outcomes = {};
    std::vector<jobs::EnqueueRequest> apart = {};  ///< nothing has happened: they are to go in one by one
  };
  /// A call of `enqueue` on its way.
  struct Enqueueing {
    std::vector<jobs::EnqueueRequest> jobs;  ///< whose payloads are elements
    std::size_t size_bytes = 0;
    bool alone = false;  ///< failed beside others
    Completer<Result<EnqueueAnswer>> completer;
  };
  /// A member of the schedule or the retry set that peek_due showed.
  struct Due {
    std::string key;
    std::string element;
    Element read;
  };
  /// What is remembered of a jid.
  struct Hint {
    char state = 'q';
    std::string score = {};
    std::string queue = {};
    std::string reason = {};
    WallTime since{};  ///< of q: when it was put there
  };
  struct Rescues {
    std::int64_t count = 0;
    std::int64_t last_us = 0;
    std::int64_t before_us = 0;
  };
  enum class WatchState : std::uint8_t {
    idle,     ///< nobody wants to know
    waiting,  ///< the server tells
    ended,    ///< it waits no longer, and there was nothing until then
  };
  /// A connection that waits for a queue to be no longer empty.
  struct Watch {
    std::unique_ptr<net::RedisClient> client;
    std::shared_ptr<std::atomic<WatchState>> state;  // shared with the callback of the command that waits
  };
  using Members = std::vector<std::pair<std::string, std::string>>;  // elements with their scores
  using Found = std::map<std::string, Located, std::less<>>;
  /// What is to become of a job that was found: a change, or just an answer.
  struct Wish {
    jobs::ItemOutcome otherwise = jobs::ItemOutcome::missing;
    std::optional<Change> change = std::nullopt;
  };
  /// Says what is to become of the job that the item of this index names, where it is now.
  using Wisher = std::function<Wish(std::size_t index, const Located& job)>;

  // --- talking to the server ---
  Reply<net::RedisReply> ask(net::RedisCommand command);
  Reply<net::RedisReply> ask(net::RedisScriptCall call);
  Reply<std::vector<net::RedisReply>> ask(net::RedisBatch batch);
  template <class Request>
  [[nodiscard]] Reply<net::RedisReply> ask_for_one(net::RedisClient* client, Request request);
  /// By the connection of heartbeats: nothing else is ever before them.
  Reply<net::RedisReply> ask_apart(net::RedisScriptCall call);
  [[nodiscard]] net::RedisClient* beat_client();
  Reply<std::uint64_t> look_at_server();
  Reply<std::vector<std::string>> names_in(std::string key);
  Reply<Members> slice(std::string key, char kind, std::size_t first, std::size_t count, std::string bound = {});
  [[nodiscard]] net::RedisScriptCall call_of(const net::RedisScript& script) const;
  /// True for each that happened, those of `ended` first. At most batch_count_limit.
  Reply<std::vector<bool>> change(std::vector<Change> changes, std::vector<EndedRuns> ended = {});

  // --- parts of the operations ---
  void make_elements(std::vector<jobs::EnqueueRequest>& jobs) const;
  void add_new_jobs(net::RedisScriptCall& call, const std::vector<jobs::EnqueueRequest>& jobs) const;
  void add_elements(net::RedisScriptCall& call, const std::vector<const jobs::EnqueueRequest*>& jobs) const;
  /// Where the holder of a key waits that another job wants, and how the script finds it there.
  struct Aside {
    Located job;
    std::string near = {};
  };
  /// What a job is in the queue into which it may be diverted.
  struct Diversion {
    std::string queue = {};  ///< empty: there is none
    std::string element = {};
  };
  Outcomes enqueue_apart(std::vector<jobs::EnqueueRequest> jobs);
  [[nodiscard]] Result<void> make_diversions(const std::vector<net::RedisReply>& needs,
                                             const std::vector<jobs::EnqueueRequest>& jobs,
                                             std::vector<Diversion>& diversions) const;
  [[nodiscard]] bool knows_bound_of(const std::vector<jobs::EnqueueRequest>& jobs);
  void note_bound(std::string_view queue);
  void forget_bounds(const std::vector<jobs::EnqueueRequest>& jobs);
  void add_unique(net::RedisScriptCall& call, const jobs::EnqueueRequest& job, const Aside* aside) const;
  Reply<std::size_t> find_holders(const std::vector<net::RedisReply>& needs, std::vector<jobs::EnqueueRequest>& jobs,
                                  std::vector<std::optional<Aside>>& asides);
  void send_enqueueing(net::RedisClient& client);
  void enqueued(net::RedisClient& client, std::vector<Enqueueing> together, const Result<net::RedisReply>& reply);
  Reply<std::vector<std::optional<Held>>> held(const std::vector<jobs::Settlement>& settlements);
  [[nodiscard]] bool ends_quietly(const jobs::Settlement& settlement, const Held& held) const;
  [[nodiscard]] Change change_of(const jobs::Settlement& settlement, const Held& held) const;
  void move_to_set(Change& change, const jobs::Settlement& settlement, const Held& held) const;
  [[nodiscard]] Change change_to_ready(const std::string& key, const std::string& element, const Element& read,
                                       const std::optional<std::string>& payload, jobs::JournalKind kind,
                                       const std::string& detail) const;
  Reply<std::vector<std::optional<Due>>> due_of(const std::vector<jobs::Promotion>& promotions);
  Reply<std::vector<jobs::CancelWish>> wishes_to_cancel();
  Reply<std::size_t> trim_dead(std::size_t limit);
  Reply<std::size_t> trim_journal();
  void measure(const std::vector<jobs::Settlement>& settlements, const std::vector<bool>& happened);
  Reply<bool> flush_metrics();
  Reply<bool> add_processes(std::vector<jobs::NodeInfo>& nodes, WallTime now);
  [[nodiscard]] std::string identity_of(jobs::NodeEpoch node);
  Reply<std::vector<Rescues>> rescues_of(std::vector<std::string> jids);
  Reply<std::size_t> rescue_node(jobs::NodeEpoch node, std::size_t room, jobs::RescueReport& report);
  Reply<std::map<std::string, Hint>> hints_of(const std::vector<std::string>& jids);
  Reply<Found> locate(std::vector<std::string> jids);
  Reply<std::size_t> search_running(std::set<std::string>& wanted, Found& found);
  Reply<std::size_t> search_place(std::string key, std::string queue, std::set<std::string>& wanted, Found& found,
                                  std::size_t budget);
  Reply<std::size_t> search_near(std::string queue, std::string jid, WallTime when, std::set<std::string>& wanted,
                                 Found& found);
  void pick(const Members& members, std::size_t first, const std::string& key, const std::string& queue,
            std::set<std::string>& wanted, Found& found) const;
  Outcomes change_found(std::vector<std::string> jids, const Wisher& wish);
  Reply<std::vector<bool>> change_in_parts(std::vector<Change> changes);
  [[nodiscard]] Change change_of_place(const Located& job) const;
  [[nodiscard]] Wish wish_to_move(const jobs::MoveJob& wanted, const Located& job) const;
  [[nodiscard]] Result<void> aim(Change& change, const Located& job, std::size_t length) const;
  Reply<jobs::JobPage> list_places(jobs::ListQuery query);
  Reply<jobs::JobPage> list_running(jobs::ListQuery query);
  [[nodiscard]] jobs::StoredJob stored_job(const Located& located, const Hint* hint, const Rescues* rescues) const;
  Reply<std::vector<jobs::StoredJob>> stored_jobs(std::vector<Located> located);
  Reply<std::size_t> find_odd_types(std::vector<jobs::StoreFinding>& findings);
  Reply<std::size_t> find_strays(std::string pattern, std::string type, std::string known,
                                 std::vector<std::string>& strays);
  Reply<std::string> server_info();
  void watch_queues();
  Reply<bool> look_for_changes(Duration interval);
  Reply<bool> change_limits(net::RedisScriptCall call);
  void note_limits(bool held_back, std::int64_t turn_us, std::int64_t server_now_us);
  [[nodiscard]] std::vector<std::string> unwatched_queues();
  [[nodiscard]] bool note_changes(const net::RedisReply& ready_count, const net::RedisReply& journal_count);
  [[nodiscard]] std::int64_t ttl_until(std::optional<WallTime> due) const;
  [[nodiscard]] WallTime now() const { return clock().wall_now(); }
  [[nodiscard]] const Clock& clock() const { return options_.clock != nullptr ? *options_.clock : runtime_.clock(); }
  [[nodiscard]] bool told(bool journaled) const { return options_.journal && journaled; }

  RuntimeBase& runtime_;
  RedisStoreOptions options_;  // constant after opening
  Logger& logger_;
  std::optional<Scripts> scripts_;  // constant after opening, as are the next three
  std::optional<CronScripts> cron_scripts_;
  std::optional<UniqueScripts> unique_scripts_;
  std::optional<LimitScripts> limit_scripts_;
  std::shared_ptr<ChangeHub> hub_ = std::make_shared<ChangeHub>();
  std::unique_ptr<net::RedisIo> own_io_;
  std::unique_ptr<net::RedisClient> client_;
  Metrics metrics_;
  jobs::detail::NextTurn next_turn_;    // noted under mutex_
  std::atomic<bool> held_back_{false};  // whether the latest take has found a queue at its limit; relaxed: a hint
  std::atomic<std::size_t> largest_taken_{0};  // bytes of the largest element of the latest take; relaxed: a hint
  Mutex beat_mutex_;
  std::unique_ptr<net::RedisClient> beat_client_ DAGVERK_GUARDED_BY(beat_mutex_);  // once made it stays

  Mutex enqueue_mutex_;                                                   // held for looking at these alone
  std::deque<Enqueueing> enqueueing_ DAGVERK_GUARDED_BY(enqueue_mutex_);  // not sent yet
  std::size_t enqueueing_bytes_ DAGVERK_GUARDED_BY(enqueue_mutex_) = 0;
  std::size_t enqueue_scripts_ DAGVERK_GUARDED_BY(enqueue_mutex_) = 0;                    // under way
  std::set<std::string, std::less<>> bounded_queues_ DAGVERK_GUARDED_BY(enqueue_mutex_);  // found so; at most some
  std::atomic<bool> some_bounded_{false};  // whether that has any; relaxed: a hint

  Mutex mutex_;  // held for looking at these tables alone
  std::unordered_map<std::uint64_t, Held> held_ DAGVERK_GUARDED_BY(mutex_);
  std::map<jobs::NodeEpoch, std::string> identities_ DAGVERK_GUARDED_BY(mutex_);  // of nodes registered here
  std::unordered_map<jobs::JobHandle, Due> due_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<std::string> empty_queues_ DAGVERK_GUARDED_BY(mutex_);
  std::map<std::string, Watch> watches_ DAGVERK_GUARDED_BY(mutex_);
  std::set<std::string> unwatched_ DAGVERK_GUARDED_BY(mutex_);  // found empty, and there were no more connections
  jobs::NodeEpoch nobody_dead_for_ DAGVERK_GUARDED_BY(mutex_) = 0;
  WallTime nobody_dead_before_ DAGVERK_GUARDED_BY(mutex_){};
  SteadyTime looked_ DAGVERK_GUARDED_BY(mutex_){};
  std::uint64_t remote_ready_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::uint64_t remote_journal_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

// --- shared by the parts ---
using jobs::check_batch;
using jobs::check_sizes;
[[nodiscard]] std::string queue_key(std::string_view queue);
[[nodiscard]] std::string job_key(std::string_view jid);
[[nodiscard]] std::string run_key(jobs::NodeEpoch node);
/// What is remembered of where a job of this state was put: q, s, r or d. A running one is put into its queue again.
[[nodiscard]] std::string_view hint_of(jobs::JobState state);
/// The count that the members of a sorted set have in their queue's hash.
[[nodiscard]] std::string_view state_count(std::string_view key);
/// The value of `field` in what INFO answered; empty when it says nothing of it.
[[nodiscard]] std::string_view info_field(std::string_view info, std::string_view field);

inline constexpr std::string_view schedule_key = "schedule";
inline constexpr std::string_view retry_key = "retry";
inline constexpr std::string_view dead_key = "dead";
inline constexpr std::string_view jids_key = "dagverk:jids";
inline constexpr std::string_view jids_before_key = "dagverk:jids:before";
inline constexpr std::string_view total_key = "dagverk:total";
inline constexpr std::string_view journal_key = "dagverk:journal";
/// That jids of dead jobs are remembered at most, however long the dead set keeps them.
inline constexpr Duration longest_memory = std::chrono::hours(24 * 3650);
inline constexpr std::size_t scan_limit = 10'000;  ///< rows a filtered page or a journal search looks at

}  // namespace dagverk::stores::redis
