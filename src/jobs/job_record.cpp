#include "dagverk/jobs/job_record.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/store_types.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <span>

namespace dagverk::jobs {

namespace {

std::string write(const JobRecord& record, std::span<const JobLogLine> lines, std::uint64_t dropped) {
  std::string out = concat(R"({"attempt":)", record.attempt, R"(,"at":)", exact_epoch_seconds_text(record.updated_at));
  if (record.progress) out += concat(R"(,"progress":)", *record.progress);
  if (!record.status.empty()) json::append_text(out.append(R"(,"status":)"), record.status);
  if (dropped > 0) out += concat(R"(,"dropped":)", dropped);
  out += R"(,"lines":[)";
  for (std::size_t index = 0; index < lines.size(); ++index) {
    out += concat(index > 0 ? ",[" : "[", exact_epoch_seconds_text(lines[index].at), ",");
    json::append_text(out, lines[index].text);
    out += "]";
  }
  return out + "]}";
}

Result<JobLogLine> line_of(std::string_view json) {
  const auto parts = detail::split_array(json);
  if (!parts) return parts.error();
  if (parts->size() != 2) return Error{ErrorCode::malformed, "a line is no pair"};
  const auto at = parse_epoch_seconds((*parts)[0]);
  auto text = detail::read_text((*parts)[1]);
  if (!at || !text) return Error{ErrorCode::malformed, "a line has no time or no text"};
  return JobLogLine{*at, std::move(*text)};
}

}  // namespace

std::string to_json(const JobRecord& record) {
  std::span<const JobLogLine> lines(record.lines);
  std::string out = write(record, lines, record.lines_dropped);
  while (out.size() > record_size_limit && !lines.empty()) {
    lines = lines.subspan((lines.size() + 3) / 4);  // texts of many escapes
    out = write(record, lines, record.lines_dropped + record.lines.size() - lines.size());
  }
  return out;
}

Result<JobRecord> job_record_from_json(std::string_view json) {
  const auto members = detail::split_object(json);
  if (!members) return Error{ErrorCode::malformed, concat("job record: ", members.error().message())};
  JobRecord record;
  for (const auto& [name, value] : *members) {
    if (name == "attempt")
      record.attempt = static_cast<std::uint32_t>(detail::read_unsigned(value, UINT32_MAX).value_or(1));
    if (name == "at") record.updated_at = parse_epoch_seconds(value).value_or(WallTime{});
    if (name == "status") record.status = detail::read_text(value).value_or(std::string());
    if (name == "dropped") record.lines_dropped = detail::read_unsigned(value, UINT64_MAX).value_or(0);
    if (name == "progress") {
      if (const auto read = detail::read_double(value, 1)) record.progress = *read;
    }
    if (name != "lines") continue;
    const auto lines = detail::split_array(value);
    if (!lines) return Error{ErrorCode::malformed, "job record: its lines are no array"};
    for (const std::string_view text : *lines) {
      auto line = line_of(text);
      if (!line) return line.error().with("job record");
      record.lines.push_back(std::move(*line));
    }
  }
  return record;
}

}  // namespace dagverk::jobs
