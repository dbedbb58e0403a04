#pragma once

#include "dagverk/jobs/job_registry.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::demo {

/// Lines, words and bytes of a text, as `wc` counts them in the C locale.
struct TextCounts {
  std::uint64_t lines = 0;
  std::uint64_t words = 0;
  std::uint64_t bytes = 0;

  void add(std::string_view text) noexcept;
  /// `lines words bytes`
  [[nodiscard]] std::string to_string() const;

 private:
  bool in_word_ = false;
};

/// The job classes of the demo: what its worker processes run.
///   Checksum(path)     a command: sha256sum
///   CountText(path)    a C++ function: lines, words, bytes
///   Flaky(name)        fails twice before it succeeds, with short delays of its own
///   Doomed(name)       always fails, and ends in the dead set
///   Later(name)        succeeds; the demo schedules it
void define_jobs(jobs::JobRegistry& registry);

}  // namespace dagverk::demo
