#include "log_upload/batch_body.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/log/severity.hpp"

#include <array>
#include <cstddef>

namespace dagverk::detail {

namespace {

void append_json_text(std::string& out, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  out.push_back('"');
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') {
      out.push_back('\\');
      out.push_back(byte);
    } else if (static_cast<unsigned char>(byte) < 0x20U) {
      out.append("\\u00");
      out.push_back(digits[static_cast<unsigned char>(byte) >> 4U]);
      out.push_back(digits[static_cast<unsigned char>(byte) & 0xfU]);
    } else {
      out.push_back(byte);
    }
  }
  out.push_back('"');
}

[[nodiscard]] std::string members_of(const std::vector<LogLabel>& labels) {
  std::string members;
  for (const LogLabel& label : labels) {
    if (!members.empty()) members.push_back(',');
    append_json_text(members, label.name);
    members.push_back(':');
    append_json_text(members, label.value);
  }
  return members;
}

/// `line` with `members` after its opening brace.
void append_object(std::string& out, std::string_view line, std::string_view members) {
  if (members.empty() || !line.starts_with('{')) {
    out.append(line);
    return;
  }
  out.push_back('{');
  out.append(members);
  if (!line.starts_with("{}")) out.push_back(',');
  out.append(line.substr(1));
}

[[nodiscard]] std::size_t room_for(const UploadBatch& batch, std::size_t more) {
  return batch.bytes + batch.bytes / 4 + batch.lines.size() * (more + 48) + 256;
}

void append_loki_stream(std::string& out, const UploadBatch& batch, std::string_view stream,
                        const std::array<bool, log_severity_count>& wanted) {
  if (!out.ends_with('[')) out.push_back(',');
  out.append(R"({"stream":{)").append(stream).append(R"(},"values":[)");
  bool first = true;
  for (const UploadLine& line : batch.lines) {
    if (!wanted[static_cast<std::size_t>(line.severity)]) continue;
    out.append(first ? "[\"" : ",[\"");
    first = false;
    out.append(
        std::to_string(std::chrono::duration_cast<std::chrono::nanoseconds>(line.time.time_since_epoch()).count()));
    out.append("\",");
    append_json_text(out, line.text);
    out.push_back(']');
  }
  out.append("]}");
}

}  // namespace

std::string json_array_of(const UploadBatch& batch, const std::vector<LogLabel>& labels) {
  const std::string members = members_of(labels);
  std::string out;
  out.reserve(room_for(batch, members.size()));
  for (const UploadLine& line : batch.lines) {
    out.push_back(out.empty() ? '[' : ',');
    append_object(out, line.text, members);
  }
  out.push_back(']');
  return out;
}

std::string json_lines_of(const UploadBatch& batch, const std::vector<LogLabel>& labels) {
  const std::string members = members_of(labels);
  std::string out;
  out.reserve(room_for(batch, members.size()));
  for (const UploadLine& line : batch.lines) {
    append_object(out, line.text, members);
    out.push_back('\n');
  }
  return out;
}

std::string loki_push_of(const UploadBatch& batch, const std::vector<LogLabel>& labels,
                         std::string_view label_of_level) {
  const std::string members = members_of(labels);
  std::string out;
  out.reserve(room_for(batch, 0));
  out.append(R"({"streams":[)");
  std::array<bool, log_severity_count> present{};
  for (const UploadLine& line : batch.lines) present[static_cast<std::size_t>(line.severity)] = true;
  if (label_of_level.empty()) {
    append_loki_stream(out, batch, members, present);
  } else {
    for (std::size_t severity = 0; severity < log_severity_count; ++severity) {
      if (!present[severity]) continue;
      const std::string stream = concat(members, members.empty() ? "" : ",", "\"", label_of_level, "\":\"",
                                        to_string(static_cast<LogSeverity>(severity)), "\"");
      std::array<bool, log_severity_count> one{};
      one[severity] = true;
      append_loki_stream(out, batch, stream, one);
    }
  }
  out.append("]}");
  return out;
}

}  // namespace dagverk::detail
