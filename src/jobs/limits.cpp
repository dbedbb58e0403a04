#include "dagverk/jobs/limits.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <algorithm>

namespace dagverk::jobs {

namespace {

constexpr Duration rate_per_min = std::chrono::milliseconds(1);
constexpr Duration rate_per_max = std::chrono::days(366);

Error invalid(const Limit& limit, std::string_view rule) {
  return {ErrorCode::invalid_argument, concat("limit \"", limit.name, "\": ", rule)};
}

std::int64_t micros(Duration duration) noexcept {
  return std::chrono::floor<std::chrono::microseconds>(duration).count();
}

bool plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c < 0 || (c >= ' ' && c != 0x7f); });
}

Result<void> check_bound(const Limit& limit) {
  if (!limit.bound) return {};
  const QueueBound& bound = *limit.bound;
  if (limit.scope != LimitScope::queue) return invalid(limit, "only a queue has a bound, and this is a key limit");
  if (bound.most < 1 || bound.most > queue_bound_limit) {
    return invalid(limit, concat("a bound must be 1..", queue_bound_limit, " waiting jobs, got ", bound.most,
                                 bound.most == 0 ? "; a queue that takes nothing in is of no use" : ""));
  }
  if (bound.when_full != WhenFull::divert) {
    if (bound.divert_to.empty()) return {};
    return invalid(limit, concat("names a queue to divert to, but its rule is to ", to_string(bound.when_full)));
  }
  if (auto ok = check_queue_name(bound.divert_to); !ok)
    return ok.error().with(concat("limit \"", limit.name, "\": divert to"));
  if (bound.divert_to == limit.name) return invalid(limit, "a queue cannot divert to itself");
  return {};
}

}  // namespace

std::string_view to_string(LimitScope scope) noexcept { return scope == LimitScope::queue ? "queue" : "key"; }

std::string_view to_string(RateKind kind) noexcept { return kind == RateKind::token_bucket ? "bucket" : "window"; }

std::string_view to_string(WhenFull when_full) noexcept {
  switch (when_full) {
    case WhenFull::refuse: return "refuse";
    case WhenFull::drop_oldest: return "drop-oldest";
    case WhenFull::divert: return "divert";
  }
  return "unknown";
}

std::optional<RateKind> rate_kind_from_text(std::string_view text) noexcept {
  if (text == to_string(RateKind::token_bucket)) return RateKind::token_bucket;
  if (text == to_string(RateKind::window)) return RateKind::window;
  return std::nullopt;
}

Result<void> check_limit_name(LimitScope scope, std::string_view name) {
  if (name.empty() || name.size() > name_size_limit) {
    return Error{ErrorCode::invalid_argument,
                 concat("limit: its name needs 1 to ", name_size_limit, " bytes, got ", name.size())};
  }
  if (!plain(name)) {
    return Error{ErrorCode::invalid_argument, "limit: its name must have no control characters"};
  }
  if (scope == LimitScope::key && name.find(':') != std::string_view::npos) {
    return Error{ErrorCode::invalid_argument,
                 concat("limit \"", name, "\": what follows a colon is the key; name the limit without it")};
  }
  return {};
}

Result<void> check_limit_key(std::string_view key) {
  if (key.empty() || key.size() > name_size_limit) {
    return Error{ErrorCode::invalid_argument,
                 concat("limit key: needs 1 to ", name_size_limit, " bytes, got ", key.size())};
  }
  if (!plain(key)) return Error{ErrorCode::invalid_argument, "limit key: must have no control characters"};
  if (key.starts_with(':')) {
    return Error{ErrorCode::invalid_argument, "limit key: needs a limit's name before the colon"};
  }
  return {};
}

std::string limited_detail(const Limit& limit) {
  std::string detail = R"({"limit":)";
  json::append_text(detail, limit.name);
  return detail + "}";
}

std::string dropped_detail(std::string_view jid) {
  std::string detail = R"({"for":)";
  json::append_text(detail, jid);
  return detail + "}";
}

std::string diverted_detail(std::string_view queue) {
  std::string detail = R"({"from":)";
  json::append_text(detail, queue);
  return detail + "}";
}

Error full_refusal(std::string_view queue, const std::vector<LimitInfo>& limits) {
  std::string bound;
  for (const LimitInfo& info : limits) {
    const Limit& limit = info.limit;
    if (limit.scope != LimitScope::queue || limit.name != queue || !limit.bound) continue;
    bound = concat(": its bound of ", limit.bound->most, " waiting jobs is reached");
    if (limit.bound->when_full == WhenFull::divert) {
      bound += concat(", and queue ", limit.bound->divert_to, " is full, too");
    }
  }
  return {ErrorCode::refused, concat("queue ", queue, " is full", bound,
                                     "; enqueue again later, let more workers take from it, or raise the bound: "
                                     "dagverk queue limit ",
                                     queue, " --max-waiting N")};
}

Result<void> check_beside(const Limit& limit, const Limit& other) {
  const auto diverts = [](const Limit& one) {
    return one.scope == LimitScope::queue && one.bound && one.bound->when_full == WhenFull::divert;
  };
  if (!diverts(limit) || !diverts(other) || limit.name == other.name) return {};
  const bool onwards = limit.bound->divert_to == other.name;
  if (!onwards && other.bound->divert_to != limit.name) return {};
  const Limit& first = onwards ? limit : other;
  const Limit& second = onwards ? other : limit;
  return Error{ErrorCode::refused, concat("limit \"", limit.name, "\": queue ", first.name, " diverts to ", second.name,
                                          ", which diverts itself (to ", second.bound->divert_to,
                                          "); a diverted job is diverted once: have one of them refuse or drop")};
}

Result<void> check(const Limit& limit) {
  if (auto ok = check_limit_name(limit.scope, limit.name); !ok) return ok;
  if (!limit.concurrency && !limit.rate && !limit.bound) {
    return invalid(limit, "needs a concurrency, a rate or a bound");
  }
  if (limit.concurrency && (*limit.concurrency < 1 || *limit.concurrency > limit_concurrency_limit)) {
    return invalid(limit, concat("concurrency must be 1..", limit_concurrency_limit, ", got ", *limit.concurrency,
                                 *limit.concurrency == 0 ? "; to stop a queue, pause it" : ""));
  }
  if (auto ok = check_bound(limit); !ok) return ok;
  if (!limit.rate) return {};
  const Rate& rate = *limit.rate;
  if (rate.count < 1 || rate.count > rate_count_limit) {
    return invalid(limit, concat("a rate's count must be 1..", rate_count_limit, ", got ", rate.count));
  }
  if (rate.per < rate_per_min || rate.per > rate_per_max) {
    return invalid(limit, concat("a rate's time must be 1 ms to 366 days, got ", micros(rate.per), " us"));
  }
  if (rate.per / rate.count < rate_spacing_min) {
    return invalid(limit,
                   concat("a rate may be 10 a millisecond at most, got ", rate.count, " in ", micros(rate.per), " us"));
  }
  return {};
}

RateMeter::RateMeter(const Rate& rate, std::int64_t at_us, std::int64_t used, std::int64_t now_us) noexcept
    : rate_(rate), now_us_(now_us), at_us_(at_us), used_(used) {
  if (rate.kind == RateKind::token_bucket) {
    used_ = 0;
    at_us_ = std::clamp(at_us, now_us, now_us + rate.count * spacing_us());  // later only when the clock went back
    return;
  }
  const std::int64_t into = now_us % per_us();
  const std::int64_t begin = now_us - into - (into < 0 ? per_us() : 0);
  if (at_us < begin) used_ = 0;
  if (at_us > begin) used_ = rate.count;  // the clock went back: who knows what this window has seen
  at_us_ = begin;
}

std::int64_t RateMeter::per_us() const noexcept { return micros(rate_.per); }
std::int64_t RateMeter::spacing_us() const noexcept { return (per_us() + rate_.count - 1) / rate_.count; }

std::int64_t RateMeter::tokens() const noexcept {
  if (rate_.kind == RateKind::token_bucket) return rate_.count - (at_us_ - now_us_ + spacing_us() - 1) / spacing_us();
  return std::max<std::int64_t>(0, rate_.count - used_);
}

void RateMeter::use(std::int64_t tokens) noexcept {
  if (rate_.kind == RateKind::token_bucket) {
    at_us_ += tokens * spacing_us();
  } else {
    used_ += tokens;
  }
}

std::int64_t RateMeter::next_us() const noexcept {
  if (tokens() > 0) return now_us_;
  if (rate_.kind == RateKind::token_bucket) return at_us_ - (rate_.count - 1) * spacing_us();
  return at_us_ + per_us();
}

std::int64_t RateMeter::turn_after(std::int64_t last_us) const noexcept {
  const std::int64_t next = next_us();
  if (last_us < next) return next;
  if (rate_.kind == RateKind::token_bucket) return last_us + spacing_us();
  const std::int64_t into = last_us % per_us();
  return into + 1 < rate_.count ? last_us + 1 : last_us - into + per_us();
}

}  // namespace dagverk::jobs
