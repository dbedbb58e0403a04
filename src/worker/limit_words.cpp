#include "dagverk/worker/limit_words.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <charconv>
#include <system_error>

namespace dagverk::worker {
namespace {

constexpr std::string_view queue_mark = "queue:";
constexpr std::string_view divert_mark = "divert:";

}  // namespace

LimitName limit_name(std::string_view word) {
  if (word.starts_with(queue_mark)) {
    return {jobs::LimitScope::queue, std::string(word.substr(queue_mark.size()))};
  }
  return {jobs::LimitScope::key, std::string(word)};
}

std::string limit_word(const jobs::Limit& limit) {
  return concat(limit.scope == jobs::LimitScope::queue ? queue_mark : std::string_view(), limit.name);
}

Result<jobs::Rate> parse_rate(std::string_view text) {
  const std::size_t slash = text.find('/');
  jobs::Rate rate;
  if (slash != std::string_view::npos) {
    const std::string_view count = text.substr(0, slash);
    const auto [end, fault] = std::from_chars(count.data(), count.data() + count.size(), rate.count);
    const auto per = parse_duration(text.substr(slash + 1));
    if (fault == std::errc() && end == count.data() + count.size() && per) {
      rate.per = *per;
      return rate;
    }
  }
  return Error(ErrorCode::invalid_argument, "needs a count and a time with its unit, as in 100/1m");
}

std::string rate_text(const jobs::Rate& rate) {
  return concat(rate.count, "/", duration_text(rate.per), " ", to_string(rate.kind));
}

bool read_when_full(std::string_view word, jobs::QueueBound& into) {
  const bool diverts = word.size() > divert_mark.size() && word.starts_with(divert_mark);
  if (diverts) {
    into.when_full = jobs::WhenFull::divert;
  } else if (word == to_string(jobs::WhenFull::drop_oldest)) {
    into.when_full = jobs::WhenFull::drop_oldest;
  } else if (word == to_string(jobs::WhenFull::refuse)) {
    into.when_full = jobs::WhenFull::refuse;
  } else {
    return false;
  }
  into.divert_to = diverts ? word.substr(divert_mark.size()) : std::string_view();
  return true;
}

std::string bound_text(const jobs::QueueBound& bound) {
  return concat(bound.most, " ", to_string(bound.when_full), bound.divert_to.empty() ? "" : ":", bound.divert_to);
}

}  // namespace dagverk::worker
