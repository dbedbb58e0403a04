#include "dagverk/jobs/job_codec.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/limits.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>

// The only file that knows how members are called on the wire.

namespace dagverk::jobs {

namespace {

constexpr std::size_t payload_size_max = std::size_t{1} << 30U;  // positions are 32 bits wide
constexpr unsigned depth_max = 512;                              // the scanner recurses
constexpr std::size_t name_size_max = 255;                       // of a member that is added
constexpr std::size_t later_stamp_size_bytes = 64;  // room for `enqueued_at` in a job that waits in the schedule
constexpr std::int64_t retry_for_max_s = 1'000'000'000;
constexpr Duration span_max = std::chrono::seconds(retry_for_max_s);  // of timeout and expires_in, too

enum class Field : std::uint8_t {
  args,
  at,
  created_at,
  dead,
  enqueued_at,
  error_backtrace,
  error_class,
  error_message,
  expires_at,
  expires_in,
  failed_at,
  jid,
  job_class,
  limit_key,
  max_retry_count,
  queue,
  retried_at,
  retry,
  retry_count,
  retry_for,
  retry_queue,
  tags,
  timeout,
  traceparent,
  tracestate,
  wrapped,
};

// In the order of Field.
constexpr std::array<std::string_view, 26> field_names = {
    "args",
    "at",
    "created_at",
    "dead",
    "enqueued_at",
    "error_backtrace",
    "error_class",
    "error_message",
    "expires_at",
    "expires_in",
    "failed_at",
    "jid",
    "class",
    "limit_key",
    "max_retry_count",
    "queue",
    "retried_at",
    "retry",
    "retry_count",
    "retry_for",
    "retry_queue",
    "tags",
    "timeout",
    "traceparent",
    "tracestate",
    "wrapped",
};
static_assert(field_names.size() <= 32, "a bit each");
static_assert(field_names[static_cast<std::size_t>(Field::wrapped)] == "wrapped");
static_assert(field_names[static_cast<std::size_t>(Field::job_class)] == "class");

template <std::size_t Size, std::size_t... Indices>
constexpr std::size_t field_of_size(std::string_view name, std::index_sequence<Indices...> /*all*/) noexcept {
  std::size_t found = field_names.size();
  // Sizes are known where this is compiled, so that names are compared as whole words.
  static_cast<void>(
      ((field_names[Indices].size() == Size && name == field_names[Indices] && (found = Indices, true)) || ...));
  return found;
}

/// The index of the Field that is called so; the number of fields when none is.
constexpr std::size_t field_index(std::string_view name) noexcept {
  constexpr auto all = std::make_index_sequence<field_names.size()>();
  switch (name.size()) {
    case 2: return field_of_size<2>(name, all);
    case 3: return field_of_size<3>(name, all);
    case 4: return field_of_size<4>(name, all);
    case 5: return field_of_size<5>(name, all);
    case 7: return field_of_size<7>(name, all);
    case 9: return field_of_size<9>(name, all);
    case 10: return field_of_size<10>(name, all);
    case 11: return field_of_size<11>(name, all);
    case 13: return field_of_size<13>(name, all);
    case 15: return field_of_size<15>(name, all);
    default: return field_names.size();
  }
}
static_assert([] {
  for (std::size_t index = 0; index < field_names.size(); ++index) {
    if (field_index(field_names[index]) != index) return false;
  }
  return true;
}());
static_assert(field_index("wrapped") == static_cast<std::size_t>(Field::wrapped));
static_assert(field_index("bid") == field_names.size());

constexpr std::string_view wire_name(OwnedMember member) noexcept {
  switch (member) {
    case OwnedMember::queue: return "queue";
    case OwnedMember::jid: return "jid";
    case OwnedMember::retry: return "retry";
    case OwnedMember::at: return "at";
    case OwnedMember::created_at: return "created_at";
    case OwnedMember::enqueued_at: return "enqueued_at";
    case OwnedMember::failed_at: return "failed_at";
    case OwnedMember::retried_at: return "retried_at";
    case OwnedMember::retry_count: return "retry_count";
    case OwnedMember::error_message: return "error_message";
    case OwnedMember::error_class: return "error_class";
    case OwnedMember::error_backtrace: return "error_backtrace";
    case OwnedMember::traceparent: return "traceparent";
    case OwnedMember::tracestate: return "tracestate";
  }
  return {};
}

Error malformed(std::string message) { return Error{ErrorCode::malformed_job, std::move(message)}; }

Error not_json(const json::Fault& fault) { return malformed(concat("not a JSON object: ", fault.describe())); }

// The key as it reads, whatever its spelling. `buffer` holds it when it was written with escapes.
std::string_view key_of(const json::Item& item, std::string& buffer) {
  if (!item.key_escaped) return item.key;
  buffer.clear();
  // A key that is no text is none of ours; U+FFFD in its place makes sure of that.
  (void)json::decode_text(item.key, buffer);
  return buffer;
}

unsigned depth_limit_of(const CodecOptions& options) { return std::min(options.depth_limit, depth_max); }

std::size_t size_limit_of(const CodecOptions& options) {
  return std::min(options.payload_size_limit, payload_size_max - failure_headroom);
}

Error too_large(std::size_t size_bytes, const CodecOptions& options) {
  return Error{ErrorCode::too_large, concat("job of ", size_bytes, " bytes, the limit is ", size_limit_of(options))};
}

std::string_view inside_quotes(std::string_view value) { return value.substr(1, value.size() - 2); }

// An integer literal of any size, clamped; none when it has a fraction or an exponent.
std::optional<std::int64_t> clamped_integer(std::string_view number) {
  if (!json::is_integer(number)) return std::nullopt;
  std::int64_t value = 0;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), value);
  if (read.ec == std::errc::result_out_of_range) {
    return number.front() == '-' ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
  }
  return value;
}

}  // namespace

std::uint32_t Job::failure_count() const noexcept {
  if (!retry_count_) return 0;
  const std::int64_t failures = std::int64_t{*retry_count_} + (dialect_ == JobDialect::sidekiq ? 1 : 0);
  return failures > 0 ? static_cast<std::uint32_t>(failures) : 0;
}

std::optional<WallTime> Job::time(Text at) const noexcept {
  return at.present ? parse_wire_time(text(at)) : std::nullopt;
}

/// Fills a Job from the last occurrence of each member that we know.
class JobReader {
 public:
  JobReader(std::string payload, const CodecOptions& options) : options_(options) {
    job_.payload_ = std::move(payload);
  }

  Result<Job> read(std::string_view taken_from) {
    if (const auto found = find_members(); !found) return found.error();
    if (job_.payload_.size() > size_limit_of(options_) && value(Field::failed_at).empty()) {
      return too_large(job_.payload_.size(), options_);
    }
    if (const auto read = read_identity(taken_from); !read) return read.error();
    if (const auto read = read_args(); !read) return read.error();
    if (const auto read = read_retry_queue(); !read) return read.error();
    for (std::uint32_t rest = present_; rest != 0; rest &= rest - 1) {
      read_lenient(static_cast<Field>(std::countr_zero(rest)));
    }
    return std::move(job_);
  }

  /// After `read` has failed.
  [[nodiscard]] std::string take_payload() { return std::move(job_.payload_); }

 private:
  Result<void> find_members() {
    std::string buffer;
    json::Walk walk(job_.payload_, json::Kind::object, depth_limit_of(options_));
    while (walk.next()) {
      const std::size_t index = field_index(key_of(walk.item(), buffer));
      if (index >= values_.size()) continue;
      values_[index] = walk.item().value;
      present_ |= std::uint32_t{1} << index;
      escaped_[index] = walk.item().text_escaped;
    }
    if (walk.fault()) return not_json(walk.fault());
    return {};
  }

  Result<void> read_identity(std::string_view taken_from) {
    if (!text(Field::jid, job_.jid_)) return wrong(Field::jid, "a string");
    if (const auto checked = check_jid(job_.jid()); !checked) return malformed(std::string(checked.error().message()));
    if (!text(Field::job_class, job_.class_)) return wrong(Field::job_class, "a string");
    if (const auto checked = check_class_name(job_.job_class()); !checked) {
      return malformed(std::string(checked.error().message()));
    }
    job_.names_queue_ = is(Field::queue, json::Kind::text);
    if (job_.names_queue_) {
      (void)text(Field::queue, job_.queue_);
    } else if (absent(Field::queue)) {
      job_.queue_ = in_extra(taken_from);
    } else {
      return wrong(Field::queue, "a string");
    }
    if (const auto checked = check_queue_name(job_.queue()); !checked)
      return malformed(std::string(checked.error().message()));
    return {};
  }

  Result<void> read_args() {
    if (value(Field::args).empty()) return malformed("missing \"args\"");
    std::string decoded;
    std::string_view args = value(Field::args);
    const bool nested = is(Field::args, json::Kind::text);
    if (nested) {
      // Arguments of a job that came through Verk: JSON inside a string.
      if (!json::decode_text(inside_quotes(args), decoded)) return malformed("\"args\" is a string that is not UTF-8");
      args = decoded;
      job_.dialect_ = JobDialect::verk;
      json::Scanner scanner(args, depth_limit_of(options_));
      scanner.skip_space();
      const std::size_t begin = scanner.at();
      if (!scanner.skip_value())
        return malformed(concat("\"args\" is a string that holds no JSON: ", scanner.fault().describe()));
      args = args.substr(begin, scanner.at() - begin);
      scanner.skip_space();
      if (!scanner.at_end()) return malformed("\"args\" is a string that holds more than one JSON value");
    }
    const json::Kind kind = json::kind_of(args);
    if (kind == json::Kind::array) {
      job_.args_ = nested ? in_extra(args) : in_payload(args);
      return {};
    }
    // Lua's cjson writes an empty array as an empty object.
    const bool empty_object = kind == json::Kind::object &&
                              args.substr(1, args.size() - 2).find_first_not_of(" \t\r\n") == std::string_view::npos;
    if (!empty_object) return wrong(Field::args, "an array, or a string that holds one");
    job_.args_ = in_extra("[]");
    return {};
  }

  Result<void> read_retry_queue() {
    if (text(Field::retry_queue, job_.retry_queue_)) {
      if (const auto checked = check_queue_name(*job_.retry_queue()); !checked) {
        return malformed(concat("\"retry_queue\": ", checked.error().message()));
      }
    } else if (!absent(Field::retry_queue)) {
      return wrong(Field::retry_queue, "a string");
    }
    return {};
  }

  // A member for which another type, or a value out of range, is as good as absent.
  void read_lenient(Field field) {
    switch (field) {
      case Field::retry: read_retry(); return;
      case Field::max_retry_count:
        job_.dialect_ = JobDialect::verk;
        if (const auto limit = integer(field)) job_.max_retry_count_ = to_limit(*limit);
        return;
      case Field::retry_count:
        if (const auto count = integer(field)) {
          constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() - 1;
          job_.retry_count_ = static_cast<std::int32_t>(std::clamp<std::int64_t>(*count, -1, most));
        }
        return;
      case Field::retry_for:
        if (const auto seconds = integer(field); seconds && *seconds > 0 && *seconds <= retry_for_max_s) {
          job_.retry_for_ = std::chrono::seconds(*seconds);
        }
        return;
      case Field::dead:
        if (is(field, json::Kind::boolean)) job_.dead_ = value(field).front() == 't';
        return;
      case Field::created_at: time(field, job_.created_at_); return;
      case Field::enqueued_at: time(field, job_.enqueued_at_); return;
      case Field::at: time(field, job_.at_); return;
      case Field::failed_at: time(field, job_.failed_at_); return;
      case Field::retried_at: time(field, job_.retried_at_); return;
      case Field::expires_at: time(field, job_.expires_at_); return;
      case Field::expires_in: job_.expires_in_ = span(field); return;
      case Field::timeout: job_.timeout_ = span(field); return;
      case Field::limit_key: shown_text(field, job_.limit_key_); return;
      case Field::traceparent: shown_text(field, job_.traceparent_); return;
      case Field::tracestate: shown_text(field, job_.tracestate_); return;
      case Field::wrapped: shown_text(field, job_.wrapped_); return;
      case Field::error_message: shown_text(field, job_.error_message_); return;
      case Field::error_class: shown_text(field, job_.error_class_); return;
      case Field::error_backtrace: shown_text(field, job_.error_backtrace_); return;
      case Field::tags:
        if (is(field, json::Kind::array)) job_.tags_ = in_payload(value(field));
        return;
      case Field::args:
      case Field::jid:
      case Field::job_class:
      case Field::queue:
      case Field::retry_queue: return;  // read before
    }
  }

  void read_retry() {
    if (is(Field::retry, json::Kind::boolean)) {
      job_.retry_ = value(Field::retry).front() == 't' ? RetrySetting::on() : RetrySetting::off();
    } else if (const auto limit = integer(Field::retry)) {
      job_.retry_ = RetrySetting::limited(to_limit(*limit));
    }
  }

  static std::uint32_t to_limit(std::int64_t number) {
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(number, 0, std::numeric_limits<std::int32_t>::max()));
  }

  [[nodiscard]] std::string_view value(Field field) const { return values_[static_cast<std::size_t>(field)]; }
  [[nodiscard]] bool absent(Field field) const { return value(field).empty() || value(field) == "null"; }
  [[nodiscard]] bool is(Field field, json::Kind kind) const {
    return !value(field).empty() && json::kind_of(value(field)) == kind;
  }

  [[nodiscard]] Error wrong(Field field, std::string_view expected) const {
    const std::string_view name = field_names[static_cast<std::size_t>(field)];
    if (absent(field)) return malformed(concat("missing \"", name, "\""));
    return malformed(concat("\"", name, "\" must be ", expected, ", got ", json::shown(value(field))));
  }

  Job::Text in_payload(std::string_view part) {
    return {.begin = static_cast<std::uint32_t>(part.data() - job_.payload_.data()),
            .size = static_cast<std::uint32_t>(part.size()),
            .present = true,
            .in_extra = false};
  }
  Job::Text in_extra(std::string_view decoded) {
    const auto begin = static_cast<std::uint32_t>(job_.extra_.size());
    job_.extra_.append(decoded);
    return {.begin = begin, .size = static_cast<std::uint32_t>(decoded.size()), .present = true, .in_extra = true};
  }

  // False when the member is no string. Text that cannot be decoded reads as U+FFFD.
  bool text(Field field, Job::Text& out) {
    if (!is(field, json::Kind::text)) return false;
    const std::string_view spelled = inside_quotes(value(field));
    if (!escaped_[static_cast<std::size_t>(field)]) {
      out = in_payload(spelled);
    } else {
      std::string decoded;
      (void)json::decode_text(spelled, decoded);
      out = in_extra(decoded);
    }
    return true;
  }

  // For members that are only shown, another type is as good as absent.
  void shown_text(Field field, Job::Text& out) { (void)text(field, out); }

  [[nodiscard]] std::optional<std::int64_t> integer(Field field) const {
    return is(field, json::Kind::number) ? clamped_integer(value(field)) : std::nullopt;
  }

  // Job::time reads it.
  void time(Field field, Job::Text& out) {
    if (is(field, json::Kind::number)) out = in_payload(value(field));
    if (is(field, json::Kind::text)) out = in_payload(inside_quotes(value(field)));
  }

  // Seconds above 0.
  [[nodiscard]] std::optional<Duration> span(Field field) const {
    if (!is(field, json::Kind::number)) return std::nullopt;
    const std::optional<WallTime> read = parse_epoch_seconds(value(field));
    if (!read) return std::nullopt;
    const Duration length = read->time_since_epoch();
    return length > Duration::zero() && length <= span_max ? std::optional(length) : std::nullopt;
  }

  const CodecOptions& options_;
  Job job_;
  std::array<std::string_view, field_names.size()> values_;  // as spelled; empty: absent
  std::array<bool, field_names.size()> escaped_{};           // of those that are texts
  std::uint32_t present_ = 0;                                // a bit per Field
};

Result<Job> decode_job(std::string_view payload, std::string_view taken_from, const CodecOptions& options) {
  // Before the copy: nobody pays for a payload that cannot be accepted.
  if (payload.size() > size_limit_of(options) + failure_headroom) return too_large(payload.size(), options);
  return JobReader(std::string(payload), options).read(taken_from);
}

Result<Job> decode_job_of(std::string& payload, std::string_view taken_from, const CodecOptions& options) {
  if (payload.size() > size_limit_of(options) + failure_headroom) return too_large(payload.size(), options);
  JobReader reader(std::exchange(payload, {}), options);
  Result<Job> job = reader.read(taken_from);
  if (!job) payload = reader.take_payload();
  return job;
}

bool read_alike(const CodecOptions& one, const CodecOptions& other) noexcept {
  return size_limit_of(one) == size_limit_of(other) && depth_limit_of(one) == depth_limit_of(other);
}

std::optional<JobHead> read_job_head(std::string_view payload, const CodecOptions& options) {
  if (payload.size() > size_limit_of(options)) return std::nullopt;
  JobHead head;
  std::string_view args;
  json::Walk walk(payload, json::Kind::object, depth_limit_of(options));
  while (walk.next()) {
    const json::Item& item = walk.item();
    if (item.key_escaped) return std::nullopt;
    const json::Kind kind = json::kind_of(item.value);
    const auto plain_text = [&](std::string_view& into) {
      if (kind != json::Kind::text || item.text_escaped) return false;
      into = inside_quotes(item.value);
      return true;
    };
    const auto number = [&](std::optional<WallTime>& into) {
      if (kind == json::Kind::number) into = parse_wire_time(item.value);
      return kind == json::Kind::number;
    };
    const std::size_t index = field_index(item.key);
    if (index == field_names.size()) continue;
    switch (static_cast<Field>(index)) {
      case Field::jid:
        if (!plain_text(head.jid)) return std::nullopt;
        break;
      case Field::job_class:
        if (!plain_text(head.job_class)) return std::nullopt;
        break;
      case Field::queue:
        if (!plain_text(head.queue) || head.queue.empty()) return std::nullopt;
        break;
      case Field::args: args = item.value; break;
      case Field::created_at:
        if (!number(head.created_at)) return std::nullopt;
        break;
      case Field::enqueued_at:
        if (!number(head.enqueued_at)) return std::nullopt;
        break;
      case Field::limit_key:
        if (!plain_text(head.limit_key)) return std::nullopt;
        break;
      case Field::retry_queue: return std::nullopt;
      default: break;
    }
  }
  if (walk.fault() || args.empty() || json::kind_of(args) != json::Kind::array) return std::nullopt;
  if (!check_jid(head.jid) || !check_class_name(head.job_class)) return std::nullopt;
  if (!head.queue.empty() && !check_queue_name(head.queue)) return std::nullopt;
  return head;
}

std::string random_jid() {
  constexpr char digits[] = "0123456789abcdef";
  constexpr unsigned time_digits = 12;
  const auto since_epoch = system_clock().wall_now().time_since_epoch();
  auto millis = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count());
  std::string jid(time_digits, '0');
  for (unsigned place = time_digits; place > 0; --place, millis >>= 4U) jid[place - 1] = digits[millis & 0xfU];
  return jid + random_hex(6);
}

void set_member(NewJob& job, std::string name, std::string json) {
  for (auto& [known, value] : job.members) {
    if (known != name) continue;
    value = std::move(json);
    return;
  }
  job.members.emplace_back(std::move(name), std::move(json));
}

const std::string* find_member(const NewJob& job, std::string_view name) noexcept {
  for (const auto& [known, value] : job.members) {
    if (known == name) return &value;
  }
  return nullptr;
}

namespace {

Result<void> check_span(std::string_view name, Duration span) {
  if (span >= Duration::zero() && span <= span_max) return {};
  return Error{ErrorCode::invalid_argument, concat(name, " must be 0 to ", retry_for_max_s, " s, got ",
                                                   std::chrono::duration<double>(span).count())};
}

// Trace context has no field of its own: it is what one adds.
bool has_meaning(std::string_view name) {
  constexpr std::array<std::string_view, 3> sidekiqs = {"bid", "backtrace", "encrypt"};
  if (name == "traceparent" || name == "tracestate" || name == "wrapped") return false;
  return std::ranges::find(field_names, name) != field_names.end() ||
         std::ranges::find(sidekiqs, name) != sidekiqs.end();
}

// Each is read on its own, so that no text can leave its place in the object.
Result<void> check_members(const NewJob& job, const CodecOptions& options) {
  if (job.members.size() > new_members_limit) {
    return Error{ErrorCode::invalid_argument,
                 concat("a job may have ", new_members_limit, " members of its own, got ", job.members.size())};
  }
  for (const auto& [name, value] : job.members) {
    if (name.empty() || name.size() > name_size_max || !json::is_utf8(name) || has_meaning(name)) {
      return Error{ErrorCode::invalid_argument,
                   concat("a member of one's own must not be called \"", json::shown(name), "\"")};
    }
    if (value.size() > size_limit_of(options)) return too_large(value.size(), options);
    json::Scanner scanner(value, depth_limit_of(options) - std::min(depth_limit_of(options), 1U));
    scanner.skip_space();
    const bool read = scanner.skip_value();
    scanner.skip_space();
    if (!read || !scanner.at_end()) {
      return malformed(concat("member \"", json::shown(name), "\" must be one JSON value, got ", json::shown(value)));
    }
  }
  return {};
}

// Whole seconds without a fraction, as Sidekiq writes `retry_for`.
std::string seconds_text(Duration span) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(span);
  return whole == span ? concat(whole.count()) : exact_epoch_seconds_text(WallTime(span));
}

}  // namespace

Result<Job> encode_new_job(const NewJob& job, WallTime now, const JidGenerator& make_jid, const CodecOptions& options) {
  if (const auto checked = check_class_name(job.job_class); !checked) return checked.error();
  if (const auto checked = check_queue_name(job.queue); !checked) return checked.error();
  if (!job.retry_queue.empty()) {
    if (const auto checked = check_queue_name(job.retry_queue); !checked) return checked.error().with("retry_queue");
  }
  if (job.retry_for && (job.retry_for->count() < 1 || job.retry_for->count() > retry_for_max_s)) {
    return Error{ErrorCode::invalid_argument,
                 concat("retry_for must be 1 to ", retry_for_max_s, " s, got ", job.retry_for->count())};
  }
  if (job.retry.kind == RetrySetting::Kind::limited && job.retry.limit > std::numeric_limits<std::int32_t>::max()) {
    return Error{ErrorCode::invalid_argument,
                 concat("retry must be at most ", std::numeric_limits<std::int32_t>::max(), ", got ", job.retry.limit)};
  }
  if (auto checked = check_span("timeout", job.timeout); !checked) return checked.error();
  if (auto checked = check_span("expires_in", job.expires_in); !checked) return checked.error();
  if (!job.limit_key.empty()) {
    if (auto checked = check_limit_key(job.limit_key); !checked) return checked.error();
    if (!json::is_utf8(job.limit_key)) return Error{ErrorCode::invalid_argument, "limit key: must be UTF-8"};
  }
  if (auto checked = check_members(job, options); !checked) return checked.error();
  for (const std::string& tag : job.tags) {
    if (!json::is_utf8(tag))
      return Error{ErrorCode::invalid_argument, concat("tag \"", json::shown(tag), "\" must be UTF-8")};
  }
  const std::string jid = job.jid.empty() ? make_jid() : job.jid;
  if (const auto checked = check_jid(jid); !checked) return checked.error();
  if (job.args_json.size() > size_limit_of(options)) return too_large(job.args_json.size(), options);
  // Read on its own, so that no text can leave its place in the object.
  json::Walk args(job.args_json, json::Kind::array, depth_limit_of(options) - std::min(depth_limit_of(options), 1U));
  while (args.next()) {
  }
  if (args.fault()) return malformed(concat("arguments: ", args.fault().describe()));

  std::string payload;
  payload.reserve(192 + job.args_json.size());
  const auto member = [&payload](std::string_view name) -> std::string& {
    payload.push_back(payload.empty() ? '{' : ',');
    return payload.append("\"").append(name).append("\":");
  };
  switch (job.retry.kind) {
    case RetrySetting::Kind::unset: break;
    case RetrySetting::Kind::off: member("retry").append("false"); break;
    case RetrySetting::Kind::on: member("retry").append("true"); break;
    case RetrySetting::Kind::limited: member("retry").append(concat(job.retry.limit)); break;
  }
  json::append_text(member("queue"), job.queue);
  if (job.retry_for) member("retry_for").append(concat(job.retry_for->count()));
  if (!job.retry_queue.empty()) json::append_text(member("retry_queue"), job.retry_queue);
  if (!job.tags.empty()) {
    member("tags");
    for (const std::string& tag : job.tags) {
      payload.push_back(&tag == &job.tags.front() ? '[' : ',');
      json::append_text(payload, tag);
    }
    payload.push_back(']');
  }
  if (job.dead) member("dead").append(*job.dead ? "true" : "false");
  if (job.timeout > Duration::zero()) member("timeout").append(seconds_text(job.timeout));
  if (job.expires_in > Duration::zero()) member("expires_in").append(seconds_text(job.expires_in));
  if (!job.limit_key.empty()) json::append_text(member("limit_key"), job.limit_key);
  if (job.expires_at) member("expires_at").append(wire_time_text(*job.expires_at, options.timestamps));
  for (const auto& [name, value] : job.members) {
    std::string key;
    json::append_text(key, name);
    payload.append(payload.empty() ? "{" : ",").append(key).append(":").append(value);
  }
  member("args").append(job.args_json);
  json::append_text(member("class"), job.job_class);
  json::append_text(member("jid"), jid);
  member("created_at").append(wire_time_text(now, options.timestamps));
  if (!job.scheduled) member("enqueued_at").append(wire_time_text(now, options.timestamps));
  payload.push_back('}');

  if (payload.size() + (job.scheduled ? later_stamp_size_bytes : 0) > size_limit_of(options)) {
    return too_large(payload.size(), options);
  }
  return decode_job(payload, job.queue, options);
}

Result<PreparedJob> prepare_job(std::string_view json, WallTime now, std::string_view queue_default,
                                const JidGenerator& make_jid, const CodecOptions& options) {
  if (json.size() > size_limit_of(options)) return too_large(json.size(), options);
  JobEdit edit;
  bool names_jid = false;
  bool names_queue = false;
  bool says_retry = false;
  bool says_created = false;
  std::string_view at;
  std::string buffer;
  json::Walk walk(json, json::Kind::object, depth_limit_of(options));
  while (walk.next()) {
    const std::string_view key = key_of(walk.item(), buffer);
    const bool given = walk.item().value != "null";
    if (key == "jid") names_jid = given;
    if (key == "queue") names_queue = given;
    if (key == "retry") says_retry = given;
    if (key == "created_at") says_created = given;
    if (key == "at") at = given ? walk.item().value : std::string_view{};
  }
  if (walk.fault()) return not_json(walk.fault());

  std::optional<WallTime> due;
  if (!at.empty()) {
    due = json::kind_of(at) == json::Kind::number ? parse_wire_time(at) : std::nullopt;
    if (!due) return malformed(concat("\"at\" must be a time in seconds, got ", json::shown(at)));
    if (*due <= now) due.reset();
  }
  edit.remove(OwnedMember::at);
  if (!says_retry) edit.set(OwnedMember::retry, true);
  if (!names_queue) edit.set(OwnedMember::queue, queue_default);
  if (!names_jid) edit.set(OwnedMember::jid, make_jid());
  if (!says_created) edit.set(OwnedMember::created_at, now, options.timestamps);
  if (due) {
    edit.remove(OwnedMember::enqueued_at);
  } else {
    edit.set(OwnedMember::enqueued_at, now, options.timestamps);
  }
  const Result<std::string> payload = edit_job(json, edit, options);
  if (!payload) return payload.error();
  if (payload->size() + (due ? later_stamp_size_bytes : 0) > size_limit_of(options))
    return too_large(payload->size(), options);
  Result<Job> job = decode_job(*payload, queue_default, options);
  if (!job) return job.error();
  return PreparedJob{.job = std::move(*job), .due = due};
}

JobEdit& JobEdit::put(OwnedMember member, std::optional<std::string> value) {
  for (Change& change : changes_) {
    if (change.member != member) continue;
    change.value = std::move(value);
    return *this;
  }
  changes_.push_back(Change{.member = member, .value = std::move(value)});
  return *this;
}

JobEdit& JobEdit::set(OwnedMember member, std::string_view text) {
  std::string value;
  json::append_text(value, text);
  return put(member, std::move(value));
}

JobEdit& JobEdit::set(OwnedMember member, std::int64_t number) { return put(member, concat(number)); }

JobEdit& JobEdit::set(OwnedMember member, bool value) { return put(member, value ? "true" : "false"); }

JobEdit& JobEdit::set(OwnedMember member, WallTime time, TimestampFormat format) {
  return put(member, wire_time_text(time, format));
}

JobEdit& JobEdit::remove(OwnedMember member) { return put(member, std::nullopt); }

Result<std::string> edit_job(std::string_view payload, const JobEdit& edit, const CodecOptions& options) {
  if (payload.size() > size_limit_of(options) + failure_headroom) return too_large(payload.size(), options);

  constexpr auto nowhere = static_cast<std::size_t>(-1);
  std::string buffer;
  const auto change_of = [&](const json::Item& item) -> std::size_t {
    const std::string_view key = key_of(item, buffer);
    for (std::size_t index = 0; index < edit.changes_.size(); ++index) {
      if (key == wire_name(edit.changes_[index].member)) return index;
    }
    return nowhere;
  };

  // First round: is it an object, and where does each edited member occur for the last time?
  std::vector<std::size_t> last_value(edit.changes_.size(), nowhere);
  json::Walk survey(payload, json::Kind::object, depth_limit_of(options));
  while (survey.next()) {
    if (const std::size_t change = change_of(survey.item()); change != nowhere)
      last_value[change] = survey.item().value_begin;
  }
  if (survey.fault()) return not_json(survey.fault());

  std::string edited;
  edited.reserve(payload.size() + 256);
  edited.append(payload.substr(0, survey.body_begin()));
  bool first = true;
  const auto begin_segment = [&] {
    if (!first) edited.push_back(',');
    first = false;
  };
  bool had_members = false;
  json::Walk walk(payload, json::Kind::object, depth_limit_of(options));
  while (walk.next()) {
    had_members = true;
    const json::Item& item = walk.item();
    const std::size_t change = change_of(item);
    if (change == nowhere) {
      begin_segment();
      edited.append(payload.substr(item.segment_begin, item.segment_end - item.segment_begin));
    } else if (edit.changes_[change].value && last_value[change] == item.value_begin) {
      begin_segment();
      edited.append(payload.substr(item.segment_begin, item.value_begin - item.segment_begin));
      edited.append(*edit.changes_[change].value);
      edited.append(payload.substr(item.value_end, item.segment_end - item.value_end));
    }
  }
  // White space between the brackets of an empty object.
  if (!had_members) edited.append(payload.substr(survey.body_begin(), survey.body_end() - survey.body_begin()));
  for (std::size_t index = 0; index < edit.changes_.size(); ++index) {
    const JobEdit::Change& change = edit.changes_[index];
    if (!change.value || last_value[index] != nowhere) continue;
    begin_segment();
    edited.append("\"").append(wire_name(change.member)).append("\":").append(*change.value);
  }
  edited.append(payload.substr(survey.body_end()));
  return edited;
}

namespace {

// The first `limit` characters; wrong bytes count as one character each.
std::string_view first_characters(std::string_view text, std::size_t limit) {
  std::size_t at = 0;
  for (std::size_t characters = 0; at < text.size() && characters < limit; ++characters) {
    at += std::max<std::size_t>(json::utf8_sequence(text, at), 1);
  }
  return text.substr(0, at);
}

}  // namespace

Result<std::string> failed_payload(const Job& job, const JobFailure& failure, const CodecOptions& options) {
  JobEdit edit;
  const std::string_view queue = job.retry_queue().value_or(job.queue());
  if (!job.names_queue() || queue != job.queue()) edit.set(OwnedMember::queue, queue);
  edit.set(OwnedMember::error_message, first_characters(failure.message, error_message_characters_limit));
  edit.set(OwnedMember::error_class, first_characters(failure.error_class, error_class_characters_limit));
  const bool first = !job.failed_at().has_value();
  if (first) edit.set(OwnedMember::failed_at, failure.failed_at, options.timestamps);
  const std::int64_t failures = job.failure_count();
  edit.set(OwnedMember::retry_count, job.dialect() == JobDialect::verk ? failures + 1 : failures);
  if (!first) edit.set(OwnedMember::retried_at, failure.failed_at, options.timestamps);
  return edit_job(job.payload(), edit, options);
}

Result<std::string> enqueued_payload(const Job& job, WallTime now, const CodecOptions& options) {
  JobEdit edit;
  if (!job.names_queue()) edit.set(OwnedMember::queue, job.queue());
  edit.set(OwnedMember::enqueued_at, now, options.timestamps);
  return edit_job(job.payload(), edit, options);
}

std::string birth_of(std::string_view payload, const CodecOptions& options) {
  const Result<Job> job = decode_job(payload, "default", options);
  return job && job->created_at() ? exact_epoch_seconds_text(*job->created_at()) : std::string();
}

std::string payload_in_queue(std::string_view payload, std::string_view queue, const CodecOptions& options) {
  if (!decode_job(payload, queue, options)) return std::string(payload);
  JobEdit edit;
  edit.set(OwnedMember::queue, queue);
  Result<std::string> moved = edit_job(payload, edit, options);
  return moved ? std::move(*moved) : std::string(payload);
}

Result<std::string> retried_by_hand_payload(const Job& job, WallTime now, const CodecOptions& options) {
  JobEdit edit;
  if (!job.names_queue()) edit.set(OwnedMember::queue, job.queue());
  if (job.failure_count() > 0) edit.set(OwnedMember::retry_count, std::int64_t{*job.retry_count()} - 1);
  edit.set(OwnedMember::enqueued_at, now, options.timestamps);
  return edit_job(job.payload(), edit, options);
}

}  // namespace dagverk::jobs
