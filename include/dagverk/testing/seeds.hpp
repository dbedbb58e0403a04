#pragma once

#include "dagverk/testing/scenario.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace dagverk::testing {

struct SeedOptions {
  /// How many seeds. The environment variable DAGVERK_SEEDS sets another number.
  std::size_t count = 100;
  std::uint64_t first = 1;
  /// What the replay command runs: a test's full name, `Suite.name`. Empty: the program without a filter.
  std::string test = {};
  /// Asked after each run: true when the test framework has seen a failure, e.g. `::testing::Test::HasFailure`.
  std::function<bool()> framework_failed = {};
  std::size_t failures_max = 3;  ///< stops after so many failing seeds; at least 1
};

/// What running a scenario under many seeds has shown.
struct SeedReport {
  struct Failure {
    std::uint64_t seed;
    std::string text;    ///< what failed, one line each
    std::string replay;  ///< the command that runs this seed alone
  };
  std::size_t runs = 0;
  std::vector<Failure> failures;

  [[nodiscard]] bool ok() const noexcept { return runs > 0 && failures.empty(); }
  /// For people: each failing seed, why, and how to replay it.
  [[nodiscard]] std::string text() const;
};

/// Runs `body` in a new Scenario for each seed, and tells which seeds failed: those that threw, called `fail`, or made
/// an `expect` false.
///
/// Semantics: DAGVERK_SEED in the environment runs that seed alone.
/// Threads:   all on the caller's.
/// Bounds:    stops at `failures_max`.
[[nodiscard]] SeedReport for_each_seed(const SeedOptions& options, const std::function<void(Scenario&)>& body);
[[nodiscard]] inline SeedReport for_each_seed(std::size_t count, const std::function<void(Scenario&)>& body) {
  return for_each_seed(SeedOptions{.count = count}, body);
}

}  // namespace dagverk::testing
