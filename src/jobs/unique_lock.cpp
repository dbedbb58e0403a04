#include "dagverk/jobs/unique_lock.hpp"

#include "jobs/journal_detail.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"

#include <charconv>
#include <chrono>

namespace dagverk::jobs {

std::string_view to_string(LockUntil until) noexcept {
  switch (until) {
    case LockUntil::started: return "started";
    case LockUntil::done: return "done";
    case LockUntil::period: return "period";
  }
  return "unknown";
}

std::string_view to_string(LockConflict conflict) noexcept {
  switch (conflict) {
    case LockConflict::refuse: return "refuse";
    case LockConflict::replace: return "replace";
    case LockConflict::reschedule: return "reschedule";
  }
  return "unknown";
}

std::string lock_detail(LockConflict conflict, std::string_view jid) {
  JournalDetail detail;
  detail.text(conflict == LockConflict::reschedule ? "rescheduled_by" : "replaced_by", jid);
  return std::move(detail).take();
}

namespace {

constexpr std::size_t class_size_in_key = 200;

/// JSON text without the white space between its tokens.
std::string packed(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  bool in_text = false;
  bool escaped = false;
  for (const char byte : json) {
    const bool space = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
    if (in_text || !space) out += byte;
    if (byte == '"' && !escaped) in_text = !in_text;
    escaped = in_text && byte == '\\' && !escaped;
  }
  return out;
}

/// 64 bits of the bytes by FNV-1a with SplitMix64's last steps. `basis` makes different functions of it.
std::uint64_t digest_of(std::string_view bytes, std::uint64_t basis) {
  std::uint64_t hash = basis;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9U;
  hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebU;
  return hash ^ (hash >> 31U);
}

void append_hex(std::string& out, std::uint64_t number) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (unsigned shift = 64; shift > 0; shift -= 4) out += digits[(number >> (shift - 4)) & 15U];
}

std::int64_t micros_of(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
}

}  // namespace

Result<LockCursor> LockCursor::read(std::string_view text, WallTime now) {
  // No key comes behind this one.
  if (text.empty()) return LockCursor{micros_of(now), std::string(lock_key_size_limit + 1, '\xff')};
  LockCursor cursor;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), cursor.expires_us);
  if (error != std::errc{} || rest == end || *rest != ' ') {
    return Error{ErrorCode::invalid_argument, concat("locks: \"", text, "\" is no cursor of this listing")};
  }
  cursor.key.assign(rest + 1, end);
  return cursor;
}

std::string LockCursor::behind(const HeldLock& lock) { return concat(micros_of(lock.expires_at), ' ', lock.key); }

std::string unique_key(std::string_view job_class, std::string_view args_json) {
  std::string key = concat(job_class, ':', packed(args_json));
  if (key.size() <= lock_key_size_limit) return key;
  std::string digest = concat(job_class.substr(0, class_size_in_key), ":#");
  append_hex(digest, digest_of(key, 0xcbf29ce484222325U));
  append_hex(digest, digest_of(key, 0x9e3779b97f4a7c15U));
  return digest;
}

Error lock_refusal(std::string_view job_class, const UniqueLock& wanted, const std::optional<HeldLock>& held) {
  const std::string what = concat("job ", job_class, ": the unique key \"", json::shown(wanted.key), '"');
  if (!held) return {ErrorCode::refused, concat(what, " was held by a job that is over by now; enqueue it again")};
  const std::string_view until = held->until == LockUntil::started ? " until it is started"
                                 : held->until == LockUntil::done  ? " until it is done"
                                                                   : " for its period";
  return {ErrorCode::refused, concat(what, " is held by job ", json::shown(held->jid), until)};
}

}  // namespace dagverk::jobs
