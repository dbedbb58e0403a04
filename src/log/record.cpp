#include "log/record.hpp"

#include <cstring>

namespace dagverk {

namespace detail {

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
