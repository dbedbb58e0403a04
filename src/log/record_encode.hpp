#pragma once

#include "log/line_text.hpp"
#include "log/record.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

// What a log call does, in one place for the compiler: a line of three fields is written in some twenty nanoseconds.

namespace dagverk::detail {

inline constexpr std::size_t field_name_max = 255;

[[nodiscard]] inline std::size_t name_size_of(const LogValue& field) noexcept {
  return std::min(field.name().size(), field_name_max);
}

/// Two moves that overlap: names and texts are short, and a call of memcpy costs as much as ten bytes.
template <std::size_t Size>
void put_overlapping(char* at, const void* bytes, std::size_t count) noexcept {
  std::array<char, Size> first;
  std::array<char, Size> last;
  std::memcpy(first.data(), bytes, Size);
  std::memcpy(last.data(), static_cast<const char*>(bytes) + count - Size, Size);
  std::memcpy(at, first.data(), Size);
  std::memcpy(at + count - Size, last.data(), Size);
}

[[gnu::always_inline]] inline char* put(char* at, const void* bytes, std::size_t count) noexcept {
  if (count > 32) {
    std::memcpy(at, bytes, count);
  } else if (count >= 16) {
    put_overlapping<16>(at, bytes, count);
  } else if (count >= 8) {
    put_overlapping<8>(at, bytes, count);
  } else if (count >= 4) {
    put_overlapping<4>(at, bytes, count);
  } else if (count >= 2) {
    put_overlapping<2>(at, bytes, count);
  } else if (count == 1) {
    *at = *static_cast<const char*>(bytes);
  }
  return at + count;
}

template <class Value>
char* put_value(char* at, const Value& value) noexcept {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

[[nodiscard]] inline RecordPlan plan_record(const RecordContent& content, std::size_t bytes_max) noexcept {
  RecordPlan plan;
  plan.name_size = static_cast<std::uint8_t>(cut_size(content.name, 255));
  plan.text_size = static_cast<std::uint32_t>(cut_size(content.text, bytes_max));
  plan.cut = plan.text_size != content.text.size();
  std::size_t used = plan.text_size;
  for (const LogValue& field : content.fields) {
    const bool is_text = field.type() == LogValue::Type::text;
    const std::size_t fixed = 2 + name_size_of(field) + (is_text ? 4U : 8U);
    if (used + fixed > bytes_max) {
      plan.cut = true;
      break;
    }
    used += fixed;
    if (is_text) {
      const std::size_t value_size = cut_size(field.text(), bytes_max - used);
      used += value_size;
      plan.last_value_size = static_cast<std::uint32_t>(value_size);
      if (value_size != field.text().size()) plan.cut = true;
    }
    ++plan.field_count;
    if (plan.cut) break;
  }
  const std::size_t size = sizeof(RecordHeader) + plan.name_size + used;
  plan.size = static_cast<std::uint32_t>((size + record_align - 1) / record_align * record_align);
  return plan;
}

inline void encode_record(char* at, const RecordPlan& plan, const RecordContent& content) noexcept {
  RecordHeader& header = header_at(at);
  header.size = plan.size;
  header.severity = static_cast<std::uint8_t>(content.severity);
  header.cut = plan.cut;
  header.name_size = plan.name_size;
  header.source_line = content.source->line;
  header.file = content.source->file;
  header.function = content.source->function;
  header.text_size = plan.text_size;
  header.field_count = plan.field_count;
  char* next = put(at + sizeof(RecordHeader), content.name.data(), plan.name_size);
  next = put(next, content.text.data(), plan.text_size);
  for (std::uint32_t index = 0; index < plan.field_count; ++index) {
    const LogValue& field = content.fields[index];
    const std::size_t name_size = name_size_of(field);
    *next++ = static_cast<char>(field.type());
    *next++ = static_cast<char>(name_size);
    next = put(next, field.name().data(), name_size);
    if (field.type() == LogValue::Type::text) {
      const auto size =
          index + 1 == plan.field_count ? plan.last_value_size : static_cast<std::uint32_t>(field.text().size());
      next = put_value(next, size);
      next = put(next, field.text().data(), size);
    } else {
      next = put_value(next, field.bits());
    }
  }
}

}  // namespace dagverk::detail
