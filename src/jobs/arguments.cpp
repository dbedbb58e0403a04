#include "dagverk/jobs/arguments.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"

#include <charconv>
#include <cmath>

namespace dagverk::jobs {

namespace {

// Values were read within the codec's own limit; this one only bounds the recursion.
constexpr unsigned depth_limit = 512;
constexpr std::size_t few = 8;  // arguments, as most jobs have: room for them is made at once

std::string_view inside_quotes(std::string_view json) { return json.substr(1, json.size() - 2); }

}  // namespace

namespace detail {

Error unexpected_value(std::string_view expected, std::string_view json) {
  return Error{ErrorCode::invalid_argument, concat("expected ", expected, ", got ", json::shown(json))};
}

bool is_null(std::string_view json) noexcept { return json == "null"; }

Result<bool> read_bool(std::string_view json) {
  if (json == "true") return true;
  if (json == "false") return false;
  return unexpected_value("true or false", json);
}

Result<std::int64_t> read_signed(std::string_view json, std::int64_t min, std::int64_t max) {
  if (json::kind_of(json) != json::Kind::number || !json::is_integer(json)) return unexpected_value("an integer", json);
  std::int64_t value = 0;
  const auto read = std::from_chars(json.data(), json.data() + json.size(), value);
  if (read.ec == std::errc{} && value >= min && value <= max) return value;
  return unexpected_value(concat("an integer from ", min, " to ", max), json);
}

Result<std::uint64_t> read_unsigned(std::string_view json, std::uint64_t max) {
  if (json::kind_of(json) != json::Kind::number || !json::is_integer(json)) return unexpected_value("an integer", json);
  if (json == "-0") return 0;
  std::uint64_t value = 0;
  const auto read = std::from_chars(json.data(), json.data() + json.size(), value);
  if (read.ec == std::errc{} && value <= max) return value;
  return unexpected_value(concat("an integer from 0 to ", max), json);
}

Result<double> read_double(std::string_view json, double max) {
  if (json::kind_of(json) != json::Kind::number) return unexpected_value("a number", json);
  double value = 0;
  const auto read = std::from_chars(json.data(), json.data() + json.size(), value);
  if (read.ec == std::errc{} && std::fabs(value) <= max) return value;
  return unexpected_value("a number that fits", json);
}

Result<std::string> read_text(std::string_view json) {
  if (json::kind_of(json) != json::Kind::text) return unexpected_value("a string", json);
  std::string text;
  if (!json::decode_text(inside_quotes(json), text)) return unexpected_value("a string of valid Unicode", json);
  return text;
}

Result<std::vector<std::string_view>> split_array(std::string_view json) {
  if (json::kind_of(json) != json::Kind::array) return unexpected_value("an array", json);
  std::vector<std::string_view> elements;
  json::Walk walk(json, json::Kind::array, depth_limit);
  while (walk.next()) elements.push_back(walk.item().value);
  if (walk.fault()) return Error{ErrorCode::invalid_argument, concat("not an array: ", walk.fault().describe())};
  return elements;
}

Result<std::vector<std::pair<std::string, std::string_view>>> split_object(std::string_view json) {
  if (json::kind_of(json) != json::Kind::object) return unexpected_value("an object", json);
  std::vector<std::pair<std::string, std::string_view>> members;
  json::Walk walk(json, json::Kind::object, depth_limit);
  while (walk.next()) {
    std::string key;
    if (!json::decode_text(walk.item().key, key)) return unexpected_value("an object with valid Unicode keys", json);
    members.emplace_back(std::move(key), walk.item().value);
  }
  if (walk.fault()) return Error{ErrorCode::invalid_argument, concat("not an object: ", walk.fault().describe())};
  return members;
}

Result<void> write_double(std::string& out, double value) {
  if (!std::isfinite(value)) return Error{ErrorCode::invalid_argument, "JSON has no infinity and no NaN"};
  char buffer[64];
  const auto written = std::to_chars(buffer, buffer + sizeof buffer, value);
  DAGVERK_ASSERT(written.ec == std::errc{});
  const std::string_view text(buffer, static_cast<std::size_t>(written.ptr - buffer));
  out.append(text);
  if (json::is_integer(text)) out.append(".0");
  return {};
}

Result<void> write_text(std::string& out, std::string_view value) {
  if (!json::is_utf8(value)) {
    return Error{ErrorCode::invalid_argument, concat("text must be UTF-8: \"", json::shown(value), "\"")};
  }
  json::append_text(out, value);
  return {};
}

Result<void> write_raw(std::string& out, std::string_view json) {
  json::Scanner scanner(json, depth_limit);
  if (!scanner.skip_value() || !scanner.at_end()) {
    return Error{ErrorCode::invalid_argument, concat("not one JSON value: ", json::shown(json))};
  }
  out.append(json);
  return {};
}

}  // namespace detail

Result<JobArguments> JobArguments::parse(std::string_view args_json, std::string_view job_class) {
  std::vector<std::string_view> values;
  json::Walk walk(args_json, json::Kind::array, depth_limit);
  while (walk.next()) {
    if (values.empty()) values.reserve(few);
    values.push_back(walk.item().value);
  }
  if (walk.fault()) {
    return Error{ErrorCode::invalid_argument, concat("arguments of ", job_class, ": ", walk.fault().describe())};
  }
  return JobArguments(std::move(values), job_class);
}

std::string_view JobArguments::raw(std::size_t index) const {
  DAGVERK_ASSERT(index < values_.size());
  return values_[index];
}

std::string JobArguments::place(std::size_t index) const { return concat("argument ", index + 1, " of ", job_class_); }

Error JobArguments::missing(std::size_t index) const {
  return Error{ErrorCode::invalid_argument, concat(place(index), " is missing")};
}

Error JobArguments::wrong_count(std::size_t min, std::size_t max) const {
  const std::string expected = min == max ? concat(max) : concat(min, " to ", max);
  return Error{ErrorCode::invalid_argument, concat(job_class_, " takes ", expected,
                                                   max == 1 ? " argument" : " arguments", ", got ", values_.size())};
}

}  // namespace dagverk::jobs
