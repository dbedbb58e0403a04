#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/log/log_line.hpp"
#include "dagverk/log/log_value.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dagverk::detail {

/// The start of a line as threads' buffers and blocks keep it; its logger's name, text and fields follow.
struct RecordHeader {
  std::uint32_t size;  ///< of all of it, a multiple of 8; 0: the buffer goes on at its start
  std::uint8_t severity;
  bool cut;
  std::uint8_t origin;  ///< the backend that logged it while it wrote, plus one; 0: anybody else
  std::uint8_t name_size;
  std::int64_t stamp;  ///< what lines of several threads are merged by: of LineStamps; in a block, steady nanoseconds
  std::uint32_t thread_id;
  std::uint32_t source_line;
  const char* file;
  const char* function;
  std::uint32_t text_size;
  std::uint32_t field_count;
};

inline constexpr std::size_t record_align = 8;
static_assert(sizeof(RecordHeader) == 48 && sizeof(RecordHeader) % record_align == 0);

/// Lifetime: borrows everything.
struct RecordContent {
  LogSeverity severity = LogSeverity::info;
  std::string_view name;
  std::string_view text;
  std::span<const LogValue> fields;
  const LogSource* source = &no_source;

  static constexpr LogSource no_source{};
};

/// How much of a line is kept, and the room it takes.
struct RecordPlan {
  std::uint32_t size = 0;
  std::uint32_t text_size = 0;
  std::uint32_t field_count = 0;
  std::uint32_t last_value_size = 0;  ///< of the last field, when it is a text
  std::uint8_t name_size = 0;
  bool cut = false;
};

[[nodiscard]] inline RecordHeader& header_at(char* at) noexcept { return *reinterpret_cast<RecordHeader*>(at); }
[[nodiscard]] inline const RecordHeader& header_at(const char* at) noexcept {
  return *reinterpret_cast<const RecordHeader*>(at);
}
[[nodiscard]] LogLine decode_record(const char* at, Duration to_wall) noexcept;

/// The most bytes that a record of at most `bytes_max` bytes of text and fields takes.
[[nodiscard]] constexpr std::size_t record_size_max(std::size_t bytes_max) noexcept {
  return sizeof(RecordHeader) + 255 + bytes_max + record_align;
}

}  // namespace dagverk::detail
