#include "dagverk/jobs/job_events.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <array>
#include <charconv>
#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk::jobs {

namespace {

constexpr std::size_t line_size_limit = std::size_t{1} << 20U;
constexpr unsigned depth_limit = 8;  // ours are flat; a newer version may nest a little

// In the order of the variant.
constexpr std::array<std::string_view, std::variant_size_v<Event>> names_of_kinds = {
    "JobEnqueued",    "JobScheduled", "JobPromoted",  "JobStarted",   "JobFinished",  "JobFailed",    "JobRetried",
    "JobDied",        "JobDiscarded", "JobRescued",   "JobDeleted",   "QueueRunning", "QueuePausing", "QueuePaused",
    "NodeUp",         "NodeDown",     "JobRequeued",  "JobLeaseLost", "JobSnoozed",   "JobExpired",   "StoreTrouble",
    "StoreRecovered", "JobMoved",     "JobCancelled", "JobOverdue",
};
static_assert(std::same_as<std::variant_alternative_t<24, Event>, JobOverdue>);
static_assert(std::same_as<std::variant_alternative_t<22, Event>, JobMoved>);
static_assert(std::same_as<std::variant_alternative_t<21, Event>, StoreRecovered>);
static_assert(std::same_as<std::variant_alternative_t<17, Event>, JobLeaseLost>);
static_assert(std::same_as<std::variant_alternative_t<8, Event>, JobDiscarded>);

template <class E, class Kind>
concept Is = std::same_as<std::remove_const_t<E>, Kind>;

// Names every field once, for the encoder and the decoder alike.
template <class E, class Visit>
void each_field(E& event, Visit&& visit) {
  if constexpr (requires { event.job; }) {
    visit("jid", event.job.jid);
    visit("class", event.job.job_class);
    visit("queue", event.job.queue);
    visit("attempt", event.job.attempt);
    visit("node", event.job.node);
  } else {
    if constexpr (requires { event.queue; }) visit("queue", event.queue);
    visit("node", event.node);
    visit("at", event.at);
  }
  if constexpr (Is<E, JobEnqueued>) visit("enqueued_at", event.enqueued_at);
  if constexpr (Is<E, JobScheduled>) visit("scheduled_at", event.scheduled_at);
  if constexpr (Is<E, JobPromoted>) visit("promoted_at", event.promoted_at);
  if constexpr (Is<E, JobPromoted>) visit("from", event.from);
  if constexpr (requires { event.started_at; }) visit("started_at", event.started_at);
  if constexpr (Is<E, JobFinished>) visit("finished_at", event.finished_at);
  if constexpr (Is<E, JobFinished>) visit("output", event.output);
  if constexpr (requires { event.failed_at; }) visit("failed_at", event.failed_at);
  if constexpr (requires { event.due_at; }) visit("due_at", event.due_at);
  if constexpr (Is<E, JobDied>) visit("died_at", event.died_at);
  if constexpr (Is<E, JobDiscarded>) visit("discarded_at", event.discarded_at);
  if constexpr (Is<E, JobRescued>) visit("rescued_at", event.rescued_at);
  if constexpr (Is<E, JobRescued>) visit("from_node", event.from_node);
  if constexpr (Is<E, JobDeleted>) visit("deleted_at", event.deleted_at);
  if constexpr (Is<E, JobRequeued>) visit("requeued_at", event.requeued_at);
  if constexpr (requires { event.noticed_at; }) visit("noticed_at", event.noticed_at);
  if constexpr (Is<E, JobSnoozed>) visit("snoozed_at", event.snoozed_at);
  if constexpr (Is<E, JobExpired>) visit("expired_at", event.expired_at);
  if constexpr (requires { event.operation; }) visit("operation", event.operation);
  if constexpr (Is<E, StoreRecovered>) visit("failing_since", event.failing_since);
  if constexpr (Is<E, JobMoved>) visit("moved_at", event.moved_at);
  if constexpr (Is<E, JobCancelled>) visit("cancelled_at", event.cancelled_at);
  if constexpr (Is<E, JobOverdue>) visit("cause", event.cause);
  if constexpr (Is<E, JobFailed>) {
    visit("exception", event.exception);
    visit("message", event.message);
    visit("stacktrace", event.stacktrace);
  }
  if constexpr (requires { event.reason; }) visit("reason", event.reason);
}

class FieldWriter {
 public:
  explicit FieldWriter(std::string& out) : out_(out) {}

  void operator()(std::string_view name, const std::string& text) {
    if (text.empty()) return;
    key(name);
    json::append_text(out_, text, event_text_characters_limit);
  }
  void operator()(std::string_view name, std::uint32_t number) {
    key(name);
    out_.append(concat(number));
  }
  void operator()(std::string_view name, WallTime time) {
    key(name);
    out_.append(exact_epoch_seconds_text(time));
  }

 private:
  void key(std::string_view name) { out_.append(",\"").append(name).append("\":"); }

  std::string& out_;
};

using Members = std::vector<std::pair<std::string, std::string_view>>;

class FieldReader {
 public:
  explicit FieldReader(const Members& members) : members_(members) {}

  void operator()(std::string_view name, std::string& text) {
    const std::string_view value = find(name);
    if (value.empty()) return;
    if (json::kind_of(value) != json::Kind::text) return complain(name, "a string", value);
    (void)json::decode_text(value.substr(1, value.size() - 2), text);
  }
  void operator()(std::string_view name, std::uint32_t& number) {
    const std::string_view value = find(name);
    const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
    if (read.ec != std::errc{} || read.ptr != value.data() + value.size()) complain(name, "a number", value);
  }
  void operator()(std::string_view name, WallTime& time) {
    const std::string_view value = find(name);
    const auto read = parse_epoch_seconds(value);
    if (!read) return complain(name, "a time in seconds", value);
    time = *read;
  }

  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  // Empty when the member is missing; the last one counts.
  [[nodiscard]] std::string_view find(std::string_view name) const {
    std::string_view found;
    for (const auto& [key, value] : members_) {
      if (key == name) found = value;
    }
    return found;
  }

  void complain(std::string_view name, std::string_view expected, std::string_view value) {
    if (error_) return;
    error_ = Error{ErrorCode::malformed,
                   value.empty() ? concat("event: missing \"", name, "\"")
                                 : concat("event: \"", name, "\" must be ", expected, ", got ", json::shown(value))};
  }

  const Members& members_;
  std::optional<Error> error_;
};

template <class E>
Result<Event> read_event(const Members& members) {
  E event{};
  FieldReader reader(members);
  each_field(event, reader);
  if (reader.error()) return *reader.error();
  return Event(std::move(event));
}

template <std::size_t... Indices>
Result<Event> read_event_named(std::string_view kind, const Members& members, std::index_sequence<Indices...>) {
  using Read = Result<Event> (*)(const Members&);
  constexpr std::array<Read, sizeof...(Indices)> readers = {&read_event<std::variant_alternative_t<Indices, Event>>...};
  for (std::size_t index = 0; index < names_of_kinds.size(); ++index) {
    if (kind == names_of_kinds[index]) return readers[index](members);
  }
  return Error{ErrorCode::unsupported,
               concat("event of a kind that this version does not know: \"", json::shown(kind), "\"")};
}

}  // namespace

JobIdentity identity_of(const Job& job, std::string_view node) {
  return JobIdentity{.jid = std::string(job.jid()),
                     .job_class = std::string(job.job_class()),
                     .queue = std::string(job.queue()),
                     .attempt = job.attempt(),
                     .node = std::string(node)};
}

std::string_view kind_name(const Event& event) noexcept { return names_of_kinds[event.index()]; }

std::span<const std::string_view> kind_names() noexcept { return names_of_kinds; }

const JobIdentity* job_of(const Event& event) noexcept {
  return std::visit(
      [](const auto& kind) -> const JobIdentity* {
        if constexpr (requires { kind.job; }) {
          return &kind.job;
        } else {
          return nullptr;
        }
      },
      event);
}

std::string to_json_line(const Event& event) {
  std::string line;
  line.reserve(256);
  line.append(R"({"event":")").append(kind_name(event)).append("\"");
  std::visit([&line](const auto& kind) { each_field(kind, FieldWriter(line)); }, event);
  line.push_back('}');
  return line;
}

Result<Event> event_from_json_line(std::string_view line) {
  if (line.size() > line_size_limit) return Error{ErrorCode::malformed, concat("event of ", line.size(), " bytes")};
  Members members;
  json::Walk walk(line, json::Kind::object, depth_limit);
  std::optional<std::string> kind;
  while (walk.next()) {
    std::string key;
    (void)json::decode_text(walk.item().key, key);
    const std::string_view value = walk.item().value;
    if (key == "event" && json::kind_of(value) == json::Kind::text) {
      kind.emplace();
      (void)json::decode_text(value.substr(1, value.size() - 2), *kind);
    }
    members.emplace_back(std::move(key), value);
  }
  if (walk.fault()) return Error{ErrorCode::malformed, concat("event: ", walk.fault().describe())};
  if (!kind) return Error{ErrorCode::malformed, "event: missing \"event\""};
  return read_event_named(*kind, members, std::make_index_sequence<std::variant_size_v<Event>>());
}

}  // namespace dagverk::jobs
