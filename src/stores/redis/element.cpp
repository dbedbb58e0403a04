#include "stores/redis/element.hpp"

#include "stores/redis/scripts.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace dagverk::stores::redis {

namespace {

constexpr std::string_view mark = unjournaled_mark;
constexpr std::string_view keyed_mark = limited_mark;
constexpr std::string_view envelope = envelope_mark;

/// Reads digits and one blank from the beginning of `text`.
std::optional<std::int64_t> next_number(std::string_view& text) noexcept {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data() + text.size() || *end != ' ') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return number;
}

/// The next field of an envelope, whose size stands before all of them.
std::optional<std::string_view> next_field(std::string_view& text, std::int64_t size) noexcept {
  if (size < 0 || static_cast<std::uint64_t>(size) > text.size()) return std::nullopt;
  const std::string_view field = text.substr(0, static_cast<std::size_t>(size));
  text.remove_prefix(field.size());
  return field;
}

/// `\x1edgv1j MICROS JID_SIZE QUEUE_SIZE CLASS_SIZE JID QUEUE CLASS PAYLOAD`, with blanks between the numbers alone.
/// With a limit key: `J`, KEY_SIZE after CLASS_SIZE, and KEY after CLASS.
bool read_envelope(std::string_view text, Element& into) {
  if (!text.starts_with(envelope) || text.size() < envelope.size() + 2) return false;
  const char flag = text[envelope.size()];
  const bool keyed = flag == 'J' || flag == 'N';
  text.remove_prefix(envelope.size() + 2);
  const auto micros = next_number(text);
  const auto jid_size = micros ? next_number(text) : std::nullopt;
  const auto queue_size = jid_size ? next_number(text) : std::nullopt;
  const auto class_size = queue_size ? next_number(text) : std::nullopt;
  const auto key_size = class_size && keyed ? next_number(text) : std::optional<std::int64_t>(0);
  const auto jid = class_size && key_size ? next_field(text, *jid_size) : std::nullopt;
  const auto queue = jid ? next_field(text, *queue_size) : std::nullopt;
  const auto class_name = queue ? next_field(text, *class_size) : std::nullopt;
  const auto limit_key = class_name ? next_field(text, *key_size) : std::nullopt;
  if (!limit_key || jid->empty()) return false;
  into.jid = *jid;
  into.queue = *queue;
  into.class_name = *class_name;
  into.limit_key = *limit_key;
  into.payload = text;
  into.enqueued_at = wall_of(*micros);
  into.journaled = flag == 'j' || flag == 'J';
  into.bare = false;
  return true;
}

/// `\x1edgvXSIZE SCORE`.
bool read_stand_in(std::string_view text, Element& into) {
  if (!text.starts_with(stand_in_mark)) return false;
  text.remove_prefix(std::string_view(stand_in_mark).size());
  std::string_view score = text;
  const auto size = next_number(score);
  if (!size || score.empty() || score.size() > 64) return false;
  into.jid = concat("huge-", *size, '-', score);
  into.payload = concat(*size, " bytes, which are too many to be shown");
  into.oversized = true;
  return true;
}

std::string make_envelope(std::string_view payload, const Label& label) {
  const bool keyed = !label.limit_key.empty();
  const char flag = label.journaled ? (keyed ? 'J' : 'j') : (keyed ? 'N' : 'n');
  return concat(envelope, flag, ' ', micros_of(label.enqueued_at), ' ', label.jid.size(), ' ', label.queue.size(), ' ',
                label.class_name.size(), ' ', keyed ? concat(label.limit_key.size(), ' ') : std::string(), label.jid,
                label.queue, label.class_name, label.limit_key, payload);
}

/// Takes the marks off the end of a bare element. Whether it has a limit key.
bool take_marks(std::string_view& element, Element& into) {
  if (element.ends_with(mark)) {
    into.journaled = false;
    element.remove_suffix(mark.size());
  }
  const bool keyed = element.ends_with(keyed_mark);
  if (keyed) element.remove_suffix(keyed_mark.size());
  return keyed;
}

void describe(const jobs::Job& job, std::string_view place, bool keyed, Element& into) {
  into.jid = job.jid();
  into.class_name = job.job_class();
  if (keyed) into.limit_key = job.limit_key().value_or(std::string_view());
  into.queue = place.empty() ? job.queue() : place;
  into.enqueued_at = job.enqueued_at();
  if (!into.enqueued_at) into.enqueued_at = job.created_at();
  if (into.enqueued_at) into.enqueued_at = wall_of(micros_of(*into.enqueued_at));
}

/// What a bare element without its marks says, except for the payload.
void read_bare(std::string_view payload, std::string_view place, std::string_view otherwise, bool keyed,
               const jobs::CodecOptions& codec, Element& into) {
  if (otherwise.empty()) otherwise = "default";
  if (const std::optional<jobs::JobHead> head = jobs::read_job_head(payload, codec)) {
    into.jid = head->jid;
    into.class_name = head->job_class;
    if (keyed) into.limit_key = head->limit_key;
    into.queue = !place.empty() ? place : head->queue.empty() ? otherwise : head->queue;
    into.enqueued_at = head->enqueued_at ? head->enqueued_at : head->created_at;
    if (into.enqueued_at) into.enqueued_at = wall_of(micros_of(*into.enqueued_at));
  } else if (const Result<jobs::Job> job = jobs::decode_job(payload, place.empty() ? otherwise : place, codec)) {
    describe(*job, place, keyed, into);
  } else {
    into.jid = concat("raw-", hash_of(payload));
    into.queue = place.empty() ? otherwise : place;
  }
}

}  // namespace

Element read_element(std::string_view element, std::string_view place, std::string_view otherwise,
                     const jobs::CodecOptions& codec) {
  Element read;
  if (read_envelope(element, read)) {
    if (!place.empty()) read.queue = place;
    return read;
  }
  if (read_stand_in(element, read)) {
    read.queue = !place.empty() ? place : otherwise.empty() ? std::string_view("default") : otherwise;
    return read;
  }
  const bool keyed = take_marks(element, read);
  read.payload = element;
  read_bare(element, place, otherwise, keyed, codec, read);
  return read;
}

Element decode_element(std::string element, std::string_view place, const jobs::CodecOptions& codec,
                       std::optional<jobs::Job>& job) {
  DAGVERK_ASSERT(!place.empty());
  Element read;
  const bool enveloped = read_envelope(element, read);
  if (!enveloped && read_stand_in(element, read)) {
    read.queue = place;
    return read;
  }
  bool keyed = false;
  if (!enveloped) {
    std::string_view payload = element;
    keyed = take_marks(payload, read);
    element.resize(payload.size());
    read.payload = std::move(element);
  }
  Result<jobs::Job> decoded = jobs::decode_job_of(read.payload, place, codec);
  if (decoded) job.emplace(std::move(*decoded));
  if (enveloped) {
    read.queue = place;
  } else if (decoded) {
    describe(*job, place, keyed, read);
  } else {
    read_bare(read.payload, place, {}, keyed, codec, read);
  }
  return read;
}

std::string make_element(std::string_view payload, const Label& label, const jobs::CodecOptions& codec) {
  const auto says = [&](std::string_view jid, std::string_view queue, std::string_view job_class,
                        std::string_view limit_key) {
    return jid == label.jid && queue == label.queue && job_class == label.class_name &&
           (label.limit_key.empty() || limit_key == label.limit_key);
  };
  bool bare = false;
  if (const std::optional<jobs::JobHead> head = jobs::read_job_head(payload, codec)) {
    bare = says(head->jid, head->queue.empty() ? label.queue : head->queue, head->job_class, head->limit_key);
  } else if (const Result<jobs::Job> job = jobs::decode_job(payload, label.queue, codec)) {
    bare = says(job->jid(), job->queue(), job->job_class(), job->limit_key().value_or(std::string_view()));
  }
  if (!bare || payload.ends_with(mark) || payload.ends_with(keyed_mark)) return make_envelope(payload, label);
  return concat(payload, label.limit_key.empty() ? std::string_view() : keyed_mark,
                label.journaled ? std::string_view() : mark);
}

std::uint64_t hash_of(std::string_view bytes, std::uint64_t seed) noexcept {
  // Each eight bytes go through SplitMix64's mixer.
  std::uint64_t state = seed ^ (0x9e3779b97f4a7c15U * (bytes.size() + 1));
  const auto mix = [&](std::uint64_t word) {
    state = (state ^ word) + 0x9e3779b97f4a7c15U;
    state = (state ^ (state >> 30U)) * 0xbf58476d1ce4e5b9U;
    state = (state ^ (state >> 27U)) * 0x94d049bb133111ebU;
    state ^= state >> 31U;
  };
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    mix(word);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, bytes.data(), bytes.size());
  mix(rest);
  return state;
}

std::uint64_t handle_of(std::string_view key, std::string_view score, std::string_view element) noexcept {
  return std::max<std::uint64_t>(1, hash_of(element, hash_of(score, hash_of(key))));
}

std::optional<Running> read_running(std::string_view value) noexcept {
  const auto started = next_number(value);
  const auto queue_size = started ? next_number(value) : std::nullopt;
  const auto queue = queue_size ? next_field(value, *queue_size) : std::nullopt;
  if (!queue) return std::nullopt;
  return Running{wall_of(*started), *queue, value};
}

std::int64_t micros_of(WallTime time) noexcept {
  const std::int64_t nanos = time.time_since_epoch().count();
  return nanos / 1000 - (nanos % 1000 < 0 ? 1 : 0);
}

WallTime wall_of(std::int64_t micros) noexcept {
  // What is out of range came from a stranger.
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 1000;
  return WallTime(std::chrono::microseconds(std::clamp(micros, -most, most)));
}

std::optional<std::int64_t> number_of(std::string_view digits) noexcept {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return number;
}

WallTime score_time(std::string_view score) noexcept {
  const std::optional<WallTime> exact = jobs::parse_epoch_seconds(score);
  if (!exact) return score.starts_with('-') ? WallTime(Duration::min()) : WallTime(Duration::max());
  constexpr std::chrono::nanoseconds half_a_microsecond(500);
  return wall_of(micros_of(std::min(*exact, WallTime(Duration::max() - half_a_microsecond)) + half_a_microsecond));
}

}  // namespace dagverk::stores::redis
