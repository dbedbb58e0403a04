#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// Builds the `detail` of a journal row: a flat JSON object of what the row's own columns do not say. Empty when
/// nothing was added.
class JournalDetail {
 public:
  JournalDetail& text(std::string_view name, std::string_view value, std::size_t characters_limit = 1000);
  JournalDetail& number(std::string_view name, std::uint64_t value);
  JournalDetail& time(std::string_view name, WallTime value);
  [[nodiscard]] std::string take() &&;

 private:
  void key(std::string_view name);

  std::string out_;
};

/// The `detail` with which a job is enqueued.
[[nodiscard]] std::string enqueued_detail(const EnqueueRequest& job);

}  // namespace dagverk::jobs
