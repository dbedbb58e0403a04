#include "dagverk/testing/seeds.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <optional>

namespace dagverk::testing {

namespace {

std::optional<std::uint64_t> number_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::strtoull(text, nullptr, 0);
}

std::string replay_command(std::uint64_t seed, const std::string& test) {
  std::string command = concat("DAGVERK_SEED=", seed, " ", program_invocation_name);
  if (!test.empty()) command += concat(" --gtest_filter='", test, "'");
  return command;
}

/// What failed under this seed, one line each; empty when nothing did.
std::string run_seed(std::uint64_t seed, const SeedOptions& options, const std::function<void(Scenario&)>& body) {
  std::string text;
  Scenario scenario(seed);
  try {
    body(scenario);
  } catch (const std::exception& error) {
    text = concat("threw: ", error.what(), "\n");
  }
  for (const std::string& failure : scenario.failures()) text += concat(failure, "\n");
  if (text.empty() && options.framework_failed && options.framework_failed()) text = "a check of the test failed\n";
  return text;
}

}  // namespace

std::string SeedReport::text() const {
  if (runs == 0) return "no seed was run";
  std::string text;
  for (const Failure& failure : failures) {
    text += concat("seed ", failure.seed, " fails:\n", failure.text, "replay: ", failure.replay, "\n");
  }
  return text.empty() ? concat(runs, " seeds, no failure") : text;
}

SeedReport for_each_seed(const SeedOptions& options, const std::function<void(Scenario&)>& body) {
  const std::optional<std::uint64_t> only = number_from("DAGVERK_SEED");
  const std::uint64_t count = only ? 1 : number_from("DAGVERK_SEEDS").value_or(options.count);
  const std::uint64_t first = only.value_or(options.first);
  SeedReport report;
  for (std::uint64_t index = 0; index < count; ++index) {
    const std::uint64_t seed = first + index;
    ++report.runs;
    std::string text = run_seed(seed, options, body);
    if (text.empty()) continue;
    report.failures.push_back({.seed = seed, .text = std::move(text), .replay = replay_command(seed, options.test)});
    if (report.failures.size() >= options.failures_max) break;
    if (options.framework_failed && options.framework_failed()) break;  // it cannot forget a failure
  }
  return report;
}

}  // namespace dagverk::testing
