#include "limit_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/limit_words.hpp"
#include "dagverk/worker/time_text.hpp"

#include <charconv>

namespace dagverk::app {

namespace {

constexpr OptionSyntax options[] = {
    {'c', "concurrency", "N", "how many may run at once"},
    {'\0', "rate", "N/TIME", "how many may begin in a time, as in 100/1m"},
    {'\0', "kind", "KIND", "of the rate: bucket (a burst of N, then evenly) or window (N in each); else bucket"},
    {'\0', "max-waiting", "N", "of a queue: how many may wait in it"},
    {'\0', "when-full", "RULE", "refuse, drop-oldest or divert:QUEUE; else refuse"},
};

Result<std::int64_t> whole(std::string_view option, std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  return Error(ErrorCode::invalid_argument,
               concat("--", option, ": needs a whole number, got \"", worker::printable(text, 60), "\""));
}

Result<jobs::Rate> rate_of(std::string_view text, std::optional<std::string_view> kind) {
  auto rate = worker::parse_rate(text);
  if (!rate) {
    return Error(ErrorCode::invalid_argument,
                 concat("--rate: ", rate.error().message(), ", got \"", worker::printable(text, 60), "\""));
  }
  if (!kind) return rate;
  const auto known = jobs::rate_kind_from_text(*kind);
  if (!known) {
    return Error(ErrorCode::invalid_argument,
                 concat("--kind: got \"", worker::printable(*kind, 60), "\"; allowed: bucket, window"));
  }
  rate->kind = *known;
  return rate;
}

Result<jobs::QueueBound> bound_of(std::string_view most, std::optional<std::string_view> rule) {
  jobs::QueueBound bound;
  const auto number = whole("max-waiting", most);
  if (!number) return number.error();
  bound.most = *number;
  if (!rule || worker::read_when_full(*rule, bound)) return bound;
  const auto near = worker::nearest_word(*rule, worker::when_full_words);
  return Error(ErrorCode::invalid_argument, concat("--when-full: got \"", worker::printable(*rule, 60), "\"; ",
                                                   near ? concat("did you mean \"", *near, "\"? ") : std::string(),
                                                   "allowed: refuse, drop-oldest, divert:QUEUE"));
}

}  // namespace

const std::span<const OptionSyntax> limit_options = options;

Result<jobs::Limit> limit_of(const ParsedLine& line, LimitName name) {
  jobs::Limit limit;
  limit.scope = name.scope;
  limit.name = std::move(name.name);
  if (const auto text = line.value("concurrency")) {
    const auto number = whole("concurrency", *text);
    if (!number) return number.error();
    limit.concurrency = *number;
  }
  if (const auto text = line.value("rate")) {
    const auto rate = rate_of(*text, line.value("kind"));
    if (!rate) return rate.error();
    limit.rate = *rate;
  } else if (line.value("kind")) {
    return Error(ErrorCode::invalid_argument, "--kind is one of a --rate; name that, too");
  }
  if (const auto text = line.value("max-waiting")) {
    const auto bound = bound_of(*text, line.value("when-full"));
    if (!bound) return bound.error();
    limit.bound = *bound;
  } else if (line.value("when-full")) {
    return Error(ErrorCode::invalid_argument, "--when-full is one of a --max-waiting; name that, too");
  }
  return limit;
}

Result<jobs::LimitInfo> limit_named(Session& session, std::string_view word) {
  Result<std::vector<jobs::LimitInfo>> list = session.wait(session.store().list_limits());
  if (!list) return list.error();
  std::vector<std::string> words;
  for (jobs::LimitInfo& info : *list) {
    words.push_back(limit_word(info.limit));
    if (words.back() == word) return std::move(info);
  }
  const std::vector<std::string_view> names(words.begin(), words.end());
  const auto near = worker::nearest_word(word, names);
  return Error(ErrorCode::not_found,
               concat("no limit \"", worker::printable(word, 60), "\" in the store",
                      near ? concat("; did you mean \"", worker::printable(*near, 60), "\"?") : std::string()));
}

std::string rate_text(const jobs::Limit& limit) { return limit.rate ? worker::rate_text(*limit.rate) : "-"; }

std::string bound_text(const jobs::Limit& limit) { return limit.bound ? worker::bound_text(*limit.bound) : "-"; }

JsonObject limit_json(const jobs::LimitInfo& info) {
  JsonObject object;
  object.text("limit", limit_word(info.limit)).text("scope", to_string(info.limit.scope));
  if (info.limit.concurrency) object.number("concurrency", static_cast<std::uint64_t>(*info.limit.concurrency));
  if (const auto& rate = info.limit.rate) {
    object.number("rate", static_cast<std::uint64_t>(rate->count))
        .text("per", worker::duration_text(rate->per))
        .text("kind", to_string(rate->kind));
  }
  if (const auto& bound = info.limit.bound) {
    object.number("max_waiting", static_cast<std::uint64_t>(bound->most))
        .text("when_full", to_string(bound->when_full));
    if (!bound->divert_to.empty()) object.text("divert_to", bound->divert_to);
  }
  std::vector<std::string> uses;
  for (const jobs::LimitUse& use : info.uses) {
    JsonObject one;
    one.text("key", use.key).number("running", use.running).number("waiting", use.waiting);
    if (use.tokens) one.number("tokens", static_cast<std::uint64_t>(*use.tokens));
    one.time("next_token_at", use.next_token_at);
    if (info.limit.bound) {
      one.number("refused", use.refused).number("dropped", use.dropped).number("diverted", use.diverted);
    }
    uses.push_back(one.str());
  }
  object.raw("uses", json_list(uses));
  return object;
}

ExitCode put_limit(Session& session, Output& out, const jobs::Limit& limit) {
  if (auto good = jobs::check(limit); !good) return out.fail(good.error());
  jobs::Limit put = limit;
  const auto changed = session.wait(session.store().put_limit(std::move(put)));
  if (!changed) return out.fail(changed.error());
  const std::string slots = limit.concurrency ? concat(*limit.concurrency, " at once") : std::string();
  const std::string rate = limit.rate ? rate_text(limit) : std::string();
  const std::string bound =
      limit.bound ? concat("at most ", limit.bound->most, " waiting, else ", to_string(limit.bound->when_full),
                           limit.bound->divert_to.empty() ? "" : " to ", limit.bound->divert_to)
                  : std::string();
  std::string says = slots;
  for (const std::string& part : {rate, bound}) says += concat(says.empty() || part.empty() ? "" : ", ", part);
  const std::string_view outcome = *changed ? "set" : "unchanged";
  out.tell("limit", limit_word(limit), outcome, concat(outcome, ": ", says));
  return ExitCode::done;
}

}  // namespace dagverk::app
