#include "log/record.hpp"

#include "log/line_text.hpp"

#include <algorithm>
#include <cstring>

namespace dagverk {

namespace detail {
namespace {

constexpr std::size_t field_name_max = 255;

[[nodiscard]] std::size_t name_size_of(const LogValue& field) noexcept {
  return std::min(field.name().size(), field_name_max);
}

char* put(char* at, const void* bytes, std::size_t count) noexcept {
  if (count != 0) std::memcpy(at, bytes, count);
  return at + count;
}

}  // namespace

RecordPlan plan_record(const RecordContent& content, std::size_t bytes_max) noexcept {
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

void encode_record(char* at, const RecordPlan& plan, const RecordContent& content) noexcept {
  RecordHeader& header = header_at(at);
  header.size = plan.size;
  header.severity = static_cast<std::uint8_t>(content.severity);
  header.cut = plan.cut;
  header.name_size = plan.name_size;
  header.source_line = content.source.line;
  header.file = content.source.file;
  header.function = content.source.function;
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
      next = put(next, &size, sizeof size);
      next = put(next, field.text().data(), size);
    } else if (field.type() == LogValue::Type::real) {
      const double value = field.real();
      next = put(next, &value, sizeof value);
    } else {
      const std::uint64_t value =
          field.type() == LogValue::Type::integer ? static_cast<std::uint64_t>(field.integer()) : field.natural();
      next = put(next, &value, sizeof value);
    }
  }
}

LogLine decode_record(const char* at, Duration to_wall) noexcept {
  const RecordHeader& header = header_at(at);
  LogLine line;
  line.time = WallTime(Duration(header.stamp) + to_wall);
  line.severity = static_cast<LogSeverity>(header.severity);
  line.cut = header.cut;
  line.thread_id = header.thread_id;
  line.source = LogSource{header.file, header.function, header.source_line};
  const char* content = at + sizeof(RecordHeader);
  line.name = std::string_view(content, header.name_size);
  line.text = std::string_view(content + header.name_size, header.text_size);
  line.fields = LogFields(content + header.name_size + header.text_size, header.field_count);
  return line;
}

}  // namespace detail

std::optional<LogValue> LogFields::next() noexcept {
  if (left_ == 0) return std::nullopt;
  --left_;
  const auto type = static_cast<LogValue::Type>(bytes_[0]);
  const std::string_view name(bytes_ + 2, static_cast<unsigned char>(bytes_[1]));
  const char* value = bytes_ + 2 + name.size();
  if (type == LogValue::Type::text) {
    std::uint32_t size = 0;
    std::memcpy(&size, value, sizeof size);
    bytes_ = value + sizeof size + size;
    return LogValue(name, std::string_view(value + sizeof size, size));
  }
  bytes_ = value + 8;
  if (type == LogValue::Type::real) {
    double real = 0;
    std::memcpy(&real, value, sizeof real);
    return LogValue(name, real);
  }
  std::uint64_t natural = 0;
  std::memcpy(&natural, value, sizeof natural);
  if (type == LogValue::Type::integer) return LogValue(name, static_cast<std::int64_t>(natural));
  if (type == LogValue::Type::boolean) return LogValue(name, natural != 0);
  return LogValue(name, natural);
}

}  // namespace dagverk
