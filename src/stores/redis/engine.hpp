#pragma once

#include "stores/redis/change_hub.hpp"
#include "stores/redis/element.hpp"
#include "stores/redis/scripts.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/net/redis_client.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stores/redis/redis_options.hpp"

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

  char from = 'h';
  std::string key;
  std::string member;
  std::string_view to = {};  ///< empty, L, R or Z
  std::string to_key = {};
  std::string element = {};
  std::string score = {};
  std::string jid = {};
  std::string_view hint = {};  ///< empty, q, s, r or d
  std::string tail = {};
  std::int64_t ttl_seconds = 0;
  std::string rescues = {};
  std::string_view statistics = {};
  std::vector<Count> counts = {};
  std::optional<jobs::JournalKind> kind = std::nullopt;  ///< none: no journal row
  std::string queue = {};                                ///< of the row; of a finished job without a row: its own
  std::string class_name = {};
  std::string detail = {};
};

/// Where a job is, and its element.
struct Located {
  jobs::JobState state = jobs::JobState::ready;
  std::string key;
  std::string element;
  std::string score = {};      ///< in a sorted set
  jobs::NodeEpoch node = 0;    ///< running
  std::string execution = {};  ///< running
  WallTime started_at{};       ///< running
  Element read;
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
  Reply<jobs::DuePage> peek_due(WallTime now, std::size_t limit);
  Outcomes promote(std::vector<jobs::Promotion> promotions);
  Reply<jobs::NodeEpoch> register_node(jobs::NodeSpec spec);
  Reply<std::size_t> renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail);
  Reply<std::size_t> retire_node(jobs::NodeEpoch node);
  Reply<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit);
  Reply<std::vector<jobs::NodeInfo>> list_nodes();
  Reply<std::optional<jobs::StoredJob>> find(std::string jid);
  Reply<jobs::JobPage> list(jobs::ListQuery query);
  Outcomes retry_now(std::vector<jobs::RetryNow> jobs);
  Outcomes remove(std::vector<std::string> jids, std::string detail);
  Reply<std::vector<jobs::QueueInfo>> queues(std::string after, std::size_t limit);
  Reply<jobs::StoreTotals> totals();
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
    std::string element = {};  ///< only when it was read for its sake
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
    std::string score;
    std::string queue;
    std::string reason;
  };
  struct Rescues {
    std::int64_t count = 0;
    std::int64_t last_us = 0;
    std::int64_t before_us = 0;
  };
  /// A connection that waits for a queue to be no longer empty.
  struct Watch {
    std::unique_ptr<net::RedisClient> client;
    std::shared_ptr<std::atomic<bool>> under_way;  // shared with the callback of the command that waits
  };
  using Members = std::vector<std::pair<std::string, std::string>>;  // elements with their scores
  using Found = std::map<std::string, Located, std::less<>>;

  // --- talking to the server ---
  Reply<net::RedisReply> ask(net::RedisCommand command);
  Reply<net::RedisReply> ask(net::RedisScriptCall call);
  Reply<std::vector<net::RedisReply>> ask(net::RedisBatch batch);
  Reply<std::uint64_t> look_at_server();
  Reply<std::vector<std::string>> names_in(std::string key);
  Reply<Members> slice(std::string key, char kind, std::size_t first, std::size_t count, std::string bound = {});
  [[nodiscard]] net::RedisScriptCall call_of(const net::RedisScript& script) const;
  /// True for each that happened. At most batch_count_limit.
  Reply<std::vector<bool>> change(std::vector<Change> changes);

  // --- parts of the operations ---
  Reply<std::vector<std::optional<Held>>> held(const std::vector<jobs::Settlement>& settlements);
  [[nodiscard]] Change change_of(const jobs::Settlement& settlement, const Held& held) const;
  void move_to_set(Change& change, const jobs::Settlement& settlement, const Held& held) const;
  [[nodiscard]] Change change_to_ready(const std::string& key, const std::string& element, const Element& read,
                                       const std::optional<std::string>& payload, jobs::JournalKind kind,
                                       const std::string& detail) const;
  Reply<std::vector<std::optional<Due>>> due_of(const std::vector<jobs::Promotion>& promotions);
  Reply<std::size_t> trim_dead(std::size_t limit);
  Reply<std::size_t> trim_journal();
  Reply<std::vector<Rescues>> rescues_of(std::vector<std::string> jids);
  Reply<std::size_t> rescue_node(jobs::NodeEpoch node, std::size_t room, jobs::RescueReport& report);
  Reply<std::map<std::string, Hint>> hints_of(const std::vector<std::string>& jids);
  Reply<Found> locate(std::vector<std::string> jids);
  Reply<std::size_t> search_running(std::set<std::string>& wanted, Found& found);
  Reply<std::size_t> search_place(std::string key, std::string queue, std::set<std::string>& wanted, Found& found,
                                  std::size_t budget);
  Reply<jobs::JobPage> list_places(jobs::ListQuery query);
  Reply<jobs::JobPage> list_running(jobs::ListQuery query);
  [[nodiscard]] jobs::StoredJob stored_job(const Located& located, const Hint* hint, const Rescues* rescues) const;
  Reply<std::vector<jobs::StoredJob>> stored_jobs(std::vector<Located> located);
  void watch_queues();
  Reply<bool> look_for_changes(Duration interval);
  [[nodiscard]] std::int64_t ttl_until(std::optional<WallTime> due) const;
  [[nodiscard]] WallTime now() const { return clock().wall_now(); }
  [[nodiscard]] const Clock& clock() const { return options_.clock != nullptr ? *options_.clock : runtime_.clock(); }
  [[nodiscard]] bool told(bool journaled) const { return options_.journal && journaled; }

  RuntimeBase& runtime_;
  RedisStoreOptions options_;  // constant after opening
  Logger& logger_;
  std::optional<Scripts> scripts_;  // constant after opening
  std::shared_ptr<ChangeHub> hub_ = std::make_shared<ChangeHub>();
  std::unique_ptr<net::RedisIo> own_io_;
  std::unique_ptr<net::RedisClient> client_;

  Mutex mutex_;  // held for looking at these tables alone
  std::unordered_map<std::uint64_t, Held> held_ DAGVERK_GUARDED_BY(mutex_);
  std::unordered_map<jobs::JobHandle, Due> due_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<std::string> empty_queues_ DAGVERK_GUARDED_BY(mutex_);
  std::map<std::string, Watch> watches_ DAGVERK_GUARDED_BY(mutex_);
  jobs::NodeEpoch nobody_dead_for_ DAGVERK_GUARDED_BY(mutex_) = 0;
  WallTime nobody_dead_before_ DAGVERK_GUARDED_BY(mutex_){};
  SteadyTime looked_ DAGVERK_GUARDED_BY(mutex_){};
  std::uint64_t remote_ready_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::uint64_t remote_journal_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

// --- shared by the parts ---
[[nodiscard]] Result<void> check_batch(std::string_view what, std::size_t count);
[[nodiscard]] std::string queue_key(std::string_view queue);
[[nodiscard]] std::string job_key(std::string_view jid);
[[nodiscard]] std::string run_key(jobs::NodeEpoch node);

inline constexpr std::string_view schedule_key = "schedule";
inline constexpr std::string_view retry_key = "retry";
inline constexpr std::string_view dead_key = "dead";
inline constexpr std::string_view total_key = "dagverk:total";
inline constexpr std::string_view journal_key = "dagverk:journal";
inline constexpr std::size_t scan_limit = 10'000;  ///< rows a filtered page or a journal search looks at

}  // namespace dagverk::stores::redis
