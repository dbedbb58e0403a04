#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/chooser.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::testing {

/// Any of them, drawn from a seed.
class RandomChooser final : public Chooser {
 public:
  explicit RandomChooser(std::uint64_t seed) noexcept : random_(seed) {}
  [[nodiscard]] std::size_t choose(std::span<const RunChoice> choices) override {
    return random_.below(choices.size());
  }

 private:
  Random random_;
};

/// One after the other: the process with the next higher number than the last that ran; lanes after the processes.
class RoundRobinChooser final : public Chooser {
 public:
  [[nodiscard]] std::size_t choose(std::span<const RunChoice> choices) override;

 private:
  std::uint64_t last_ = 0;
};

/// Whoever fits before all others, or after all others; among equals, as `then` chooses.
class PreferChooser final : public Chooser {
 public:
  enum class Order : std::uint8_t { first, last };
  using Fits = std::function<bool(const RunChoice&)>;

  /// `then` outlives this.
  PreferChooser(Order order, Fits fits, Chooser& then) : order_(order), fits_(std::move(fits)), then_(then) {}
  [[nodiscard]] std::size_t choose(std::span<const RunChoice> choices) override;

 private:
  Order order_;
  Fits fits_;
  Chooser& then_;
};

/// Choices from a list, one for each step at which there is more than one; after the list, the first.
class ScriptedChooser final : public Chooser {
 public:
  explicit ScriptedChooser(std::vector<std::size_t> script) : script_(std::move(script)) {}
  [[nodiscard]] std::size_t choose(std::span<const RunChoice> choices) override;

  /// What was chosen, and of how many, at each step with more than one choice.
  struct Choice {
    std::size_t chosen;
    std::size_t of;
  };
  [[nodiscard]] const std::vector<Choice>& made() const noexcept { return made_; }

 private:
  std::vector<std::size_t> script_;
  std::vector<Choice> made_;
};

struct ExploreOptions {
  std::size_t runs_max = 100'000;
};

struct ExploreReport {
  std::size_t runs = 0;
  bool complete = false;                           ///< every interleaving was run
  std::optional<std::vector<std::size_t>> script;  ///< the first that failed: ScriptedChooser(*script) replays it
  std::string error;                               ///< what that one threw, if it did

  [[nodiscard]] bool ok() const noexcept { return complete && !script; }
  /// For people: how many there were, or the script that fails.
  [[nodiscard]] std::string text() const;
};

/// Runs `body` once for each interleaving that its processes can have, depth first, until one fails.
///
/// Semantics: `body` makes a DeterministicRuntime with the chooser it is given and answers whether all was well; it
///            must do the same each time but for what the chooser decides.
/// Bounds:    `runs_max`. The number of interleavings grows exponentially: for a handful of processes and messages.
[[nodiscard]] ExploreReport explore(const std::function<bool(Chooser&)>& body, ExploreOptions options = {});

}  // namespace dagverk::testing
