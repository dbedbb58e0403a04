#include "dagverk/testing/choosers.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <exception>
#include <numeric>

namespace dagverk::testing {

std::size_t RoundRobinChooser::choose(std::span<const RunChoice> choices) {
  std::size_t chosen = 0;
  for (std::size_t index = 0; index < choices.size(); ++index) {
    if (!choices[index].pid || choices[index].pid.number() > last_) {
      chosen = index;
      break;
    }
  }
  last_ = choices[chosen].pid ? choices[chosen].pid.number() : 0;  // after a lane, from the first process again
  return chosen;
}

std::size_t PreferChooser::choose(std::span<const RunChoice> choices) {
  std::vector<std::size_t> wanted;
  for (std::size_t index = 0; index < choices.size(); ++index) {
    if (fits_(choices[index]) == (order_ == Order::first)) wanted.push_back(index);
  }
  if (wanted.empty()) {
    wanted.resize(choices.size());
    std::iota(wanted.begin(), wanted.end(), std::size_t{0});
  }
  std::vector<RunChoice> left;
  left.reserve(wanted.size());
  for (const std::size_t index : wanted) left.push_back(choices[index]);
  return wanted[then_.choose(left)];
}

std::size_t ScriptedChooser::choose(std::span<const RunChoice> choices) {
  if (choices.size() == 1) return 0;
  const std::size_t wanted = made_.size() < script_.size() ? script_[made_.size()] : 0;
  const std::size_t chosen = std::min(wanted, choices.size() - 1);
  made_.push_back(Choice{.chosen = chosen, .of = choices.size()});
  return chosen;
}

std::string ExploreReport::text() const {
  if (!script) {
    return concat("explored ", runs, " interleavings, ",
                  complete ? "all there are" : "which are not all: raise runs_max");
  }
  std::string list;
  for (const std::size_t choice : *script) list += concat(list.empty() ? "" : ", ", choice);
  return concat("interleaving ", runs, " fails", error.empty() ? "" : ": ", error, "; replay: ScriptedChooser({", list,
                "})");
}

ExploreReport explore(const std::function<bool(Chooser&)>& body, ExploreOptions options) {
  ExploreReport report;
  std::vector<std::size_t> script;
  while (report.runs < options.runs_max) {
    ScriptedChooser chooser(script);
    ++report.runs;
    bool well = false;
    try {
      well = body(chooser);
    } catch (const std::exception& error) {
      report.error = error.what();
    }
    std::vector<ScriptedChooser::Choice> made = chooser.made();
    script.clear();
    for (const ScriptedChooser::Choice& choice : made) script.push_back(choice.chosen);
    if (!well) {
      report.script = script;
      return report;
    }
    while (!made.empty() && made.back().chosen + 1 == made.back().of) made.pop_back();
    if (made.empty()) {
      report.complete = true;
      return report;
    }
    script.resize(made.size());
    ++script.back();
  }
  return report;
}

}  // namespace dagverk::testing
