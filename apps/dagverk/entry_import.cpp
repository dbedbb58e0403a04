#include "entry_import.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/limit_words.hpp"
#include "dagverk/worker/terminal.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::app {
namespace {

using Outcome = EntryImported::Outcome;

/// `what`: `limit "api"`. `remove`: the command that makes room for the one of the export.
EntryImported duplicate(std::string_view what, bool same, std::string_view remove) {
  if (same) return {Outcome::duplicate, concat(what, " is in the store already, just so")};
  return {Outcome::duplicate, concat(what, " is in the store already, and another; it stays. To have this one: ",
                                     remove, ", and import again")};
}

/// Whether the store takes no such entry, rather than none now.
bool refuses(ErrorCode code) {
  return code == ErrorCode::refused || code == ErrorCode::invalid_argument || code == ErrorCode::too_large;
}

/// A word of a command line that is to be typed.
std::string typed(std::string_view word) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@%+";
  if (word.find_first_not_of(plain) == std::string_view::npos) return std::string(word);
  return concat("'", worker::printable(word), "'");
}

bool same_job(const jobs::CronEntry& left, const jobs::CronEntry& right) {
  return left.schedule == right.schedule && left.zone == right.zone && left.class_name == right.class_name &&
         left.queue == right.queue && left.args_json == right.args_json && left.missed == right.missed &&
         left.pause.has_value() == right.pause.has_value();
}

}  // namespace

Result<EntryImported> EntryImport::put(const jobs::Limit& limit) {
  if (!limits_) {
    const auto there = session_.wait(session_.store().list_limits());
    if (!there) return there.error();
    limits_.emplace();
    for (const jobs::LimitInfo& info : *there) limits_->push_back(info.limit);
  }
  const auto known = std::ranges::find_if(
      *limits_, [&](const jobs::Limit& other) { return other.scope == limit.scope && other.name == limit.name; });
  const std::string word = worker::limit_word(limit);
  if (known != limits_->end()) {
    return duplicate(concat("limit \"", worker::printable(word), "\""), *known == limit,
                     concat("dagverk limit remove ", typed(word)));
  }
  const auto put = session_.wait(session_.store().put_limit(limit));
  if (!put && refuses(put.error().code())) {
    return EntryImported{Outcome::refused, std::string(put.error().message())};
  }
  if (!put) return put.error();
  limits_->push_back(limit);
  return EntryImported{};
}

Result<EntryImported> EntryImport::put(const jobs::CronEntry& entry) {
  if (!crons_) {
    auto there = session_.wait(session_.store().list_cron());
    if (!there) return there.error();
    crons_ = std::move(there->entries);
  }
  const auto known = std::ranges::find(*crons_, entry.name, &jobs::CronEntry::name);
  const std::string what = concat("cron entry \"", worker::printable(entry.name), "\"");
  if (known != crons_->end()) {
    return duplicate(what, same_job(*known, entry), concat("dagverk cron remove ", typed(entry.name)));
  }
  jobs::CronEntry put = entry;
  // Between the two steps a node could fire what it takes for missed.
  if (entry.pause) put.last_slot = std::max(put.last_slot, session_.now());
  const auto done = session_.wait(session_.store().put_cron(std::move(put)));
  if (!done && refuses(done.error().code())) {
    return EntryImported{Outcome::refused, std::string(done.error().message())};
  }
  if (!done) return done.error();
  crons_->push_back(entry);
  if (!entry.pause) return EntryImported{};
  const auto paused = session_.wait(session_.store().pause_cron(entry.name, entry.pause->by, entry.pause->reason));
  if (!paused) {
    return paused.error().with(
        concat(what, " is stored, but not paused as it was: dagverk cron pause ", typed(entry.name)));
  }
  return EntryImported{};
}

}  // namespace dagverk::app
