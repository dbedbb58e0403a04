#include "jobs/time_zone.hpp"

#include "jobs/civil_time.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::size_t file_size_limit = std::size_t{256} << 10U;
constexpr std::size_t change_count_limit = 20'000;
constexpr std::size_t type_count_limit = 256;
constexpr std::size_t name_limit = 64;
constexpr std::int32_t offset_limit = 26 * 3600;

Error malformed(std::string_view what) { return {ErrorCode::malformed, concat("time zone file: ", what)}; }

/// Reads numbers as TZif has them, most significant byte first. Past the end there are zeros, and `good` is false.
class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : left_(bytes) {}

  [[nodiscard]] std::string_view take(std::size_t count) {
    if (count > left_.size()) {
      good_ = false;
      return {};
    }
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }
  [[nodiscard]] std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (const char byte : take(size)) value = (value << 8U) | static_cast<unsigned char>(byte);
    return value;
  }
  [[nodiscard]] std::int64_t instant(std::size_t size) {
    const std::uint64_t value = number(size);
    return size == 4 ? std::int64_t{static_cast<std::int32_t>(static_cast<std::uint32_t>(value))}
                     : static_cast<std::int64_t>(value);
  }
  [[nodiscard]] std::string_view left() const noexcept { return left_; }
  [[nodiscard]] bool good() const noexcept { return good_; }

 private:
  std::string_view left_;
  bool good_ = true;
};

struct Header {
  char version = 0;
  std::size_t utc_marks = 0;
  std::size_t standard_marks = 0;
  std::size_t leap_seconds = 0;
  std::size_t changes = 0;
  std::size_t types = 0;
  std::size_t letters = 0;

  [[nodiscard]] std::size_t body_size(std::size_t time_size) const noexcept {
    return changes * (time_size + 1) + types * 6 + letters + leap_seconds * (time_size + 4) + standard_marks +
           utc_marks;
  }
};

Result<Header> read_header(Bytes& bytes) {
  if (bytes.take(4) != "TZif") return malformed("does not begin as one");
  Header header;
  const std::string_view version = bytes.take(1);
  if (!version.empty()) header.version = version.front();
  static_cast<void>(bytes.take(15));
  for (std::size_t* const field : {&header.utc_marks, &header.standard_marks, &header.leap_seconds, &header.changes,
                                   &header.types, &header.letters}) {
    *field = static_cast<std::size_t>(bytes.number(4));
    if (*field > file_size_limit) return malformed("says it is larger than any");
  }
  if (!bytes.good()) return malformed("ends early");
  return header;
}

bool is_name_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '+' || c == '/';
}

bool may_be_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= name_limit && name.front() != '/' && name.back() != '/' &&
         std::ranges::all_of(name, is_name_character);
}

Error no_such_zone(std::string_view name, std::string_view why) {
  std::string shown;
  for (const char c : name.substr(0, name_limit)) shown.push_back(c < ' ' || c > '~' ? '?' : c);
  return {ErrorCode::invalid_argument,
          concat("time zone \"", shown, "\": ", why, "; type UTC, or a place as in Europe/Berlin or America/New_York")};
}

}  // namespace

/// Reads what POSIX allows in TZ, and the wider hours of RFC 8536.
class TimeZone::RuleReader {
 public:
  explicit RuleReader(std::string_view text) : left_(text) {}

  [[nodiscard]] std::optional<Rule> read() {
    Rule rule;
    std::int32_t west = 0;
    if (!skip_name() || !read_time(west, 24)) return std::nullopt;
    rule.standard = rule.summer = -west;
    if (left_.empty()) return rule;
    rule.summer = rule.standard + 3600;
    if (!skip_name()) return std::nullopt;
    if (!left_.empty() && left_.front() != ',') {
      if (!read_time(west, 24)) return std::nullopt;
      rule.summer = -west;
    }
    YearDay first;
    YearDay last;
    if (!read_day(first) || !read_day(last) || !left_.empty()) return std::nullopt;
    rule.dates = std::pair(first, last);
    return rule;
  }

 private:
  [[nodiscard]] bool skip(char c) {
    if (left_.empty() || left_.front() != c) return false;
    left_.remove_prefix(1);
    return true;
  }

  [[nodiscard]] bool skip_name() {
    std::size_t size = 0;
    if (skip('<')) {
      size = left_.find('>');
      if (size == std::string_view::npos) return false;
      left_.remove_prefix(size + 1);
      return size >= 3;
    }
    while (size < left_.size() && ((left_[size] | 0x20) >= 'a' && (left_[size] | 0x20) <= 'z')) ++size;
    left_.remove_prefix(size);
    return size >= 3;
  }

  [[nodiscard]] bool read_number(int& value, int min, int max) {
    std::size_t digits = 0;
    value = 0;
    while (digits < left_.size() && digits < 4 && left_[digits] >= '0' && left_[digits] <= '9') {
      value = value * 10 + (left_[digits++] - '0');
    }
    left_.remove_prefix(digits);
    return digits > 0 && value >= min && value <= max;
  }

  /// `[+-]hh[:mm[:ss]]`
  [[nodiscard]] bool read_time(std::int32_t& seconds, int hours_max) {
    const bool negative = skip('-');
    if (!negative) static_cast<void>(skip('+'));
    int hours = 0;
    int minutes = 0;
    int rest = 0;
    if (!read_number(hours, 0, hours_max)) return false;
    if (skip(':') && !read_number(minutes, 0, 59)) return false;
    if (skip(':') && !read_number(rest, 0, 59)) return false;
    seconds = hours * 3600 + minutes * 60 + rest;
    if (negative) seconds = -seconds;
    return true;
  }

  /// `,Mm.w.d[/time]`, `,Jn[/time]` or `,n[/time]`
  [[nodiscard]] bool read_day(YearDay& day) {
    if (!skip(',')) return false;
    if (skip('M')) {
      day.kind = YearDay::Kind::month_week_day;
      if (!read_number(day.month, 1, 12) || !skip('.') || !read_number(day.week, 1, 5) || !skip('.') ||
          !read_number(day.day, 0, 6)) {
        return false;
      }
    } else if (skip('J')) {
      day.kind = YearDay::Kind::day_without_leap;
      if (!read_number(day.day, 1, 365)) return false;
    } else {
      day.kind = YearDay::Kind::day_of_year;
      if (!read_number(day.day, 0, 365)) return false;
    }
    return !skip('/') || read_time(day.second, 167);
  }

  std::string_view left_;
};

Result<TimeZone> TimeZone::from_rule(std::string_view rule) {
  TimeZone zone;
  zone.rule_ = RuleReader(rule).read();
  if (!zone.rule_) return malformed("the rule at its end cannot be read");
  zone.first_offset_ = zone.rule_->standard;
  return zone;
}

Result<TimeZone> TimeZone::parse(std::string_view file) {
  if (file.size() > file_size_limit) return malformed("larger than any");
  Bytes bytes(file);
  Result<Header> header = read_header(bytes);
  if (!header) return header.error();
  std::size_t time_size = 4;
  if (header->version >= '2') {  // the same again with instants of 64 bits
    static_cast<void>(bytes.take(header->body_size(4)));
    header = read_header(bytes);
    if (!header) return header.error();
    time_size = 8;
  }
  if (header->changes > change_count_limit) return malformed("too many changes");
  if (header->types < 1 || header->types > type_count_limit) return malformed("no kinds of time");
  if (header->leap_seconds != 0) return malformed("counts leap seconds, which wall clocks do not");
  Bytes body(bytes.take(header->body_size(time_size)));
  if (!bytes.good()) return malformed("ends early");
  TimeZone zone;
  zone.changes_.resize(header->changes);
  for (Change& change : zone.changes_) change.at = body.instant(time_size);
  const std::string_view kinds = body.take(header->changes);
  std::vector<std::int32_t> offsets(header->types);
  for (std::int32_t& offset : offsets) {
    offset = static_cast<std::int32_t>(body.instant(4));
    static_cast<void>(body.take(2));
    if (offset <= -offset_limit || offset >= offset_limit) return malformed("a distance of more than a day");
  }
  for (std::size_t index = 0; index < kinds.size(); ++index) {
    const std::size_t kind = static_cast<unsigned char>(kinds[index]);
    if (kind >= offsets.size()) return malformed("a change to no kind of time");
    Change& change = zone.changes_[index];
    change.offset = offsets[kind];
    if (change.at <= ZonePeriod::always_before || change.at >= ZonePeriod::always_after ||
        (index > 0 && change.at <= zone.changes_[index - 1].at)) {
      return malformed("changes out of order");
    }
  }
  zone.first_offset_ = offsets.front();
  if (time_size == 4) return zone;
  std::string_view rule = bytes.left();
  if (rule.size() < 2 || rule.front() != '\n' || rule.find('\n', 1) == std::string_view::npos) {
    return malformed("no rule at its end");
  }
  rule = rule.substr(1, rule.find('\n', 1) - 1);
  if (rule.empty()) return zone;
  const Result<TimeZone> last = from_rule(rule);
  if (!last) return last.error();
  zone.rule_ = last->rule_;
  return zone;
}

Result<std::shared_ptr<const TimeZone>> TimeZone::load(std::string_view name, const std::string& folder) {
  if (name == "UTC" || name == "Etc/UTC") return std::make_shared<const TimeZone>();
  if (!may_be_name(name)) return no_such_zone(name, "is no name of a zone");
  std::ifstream file(concat(folder, "/", name), std::ios::binary);
  std::string bytes(file_size_limit + 1, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  if (bytes.empty()) {
    const bool installed = std::ifstream(concat(folder, "/Europe/Berlin")).good();
    return no_such_zone(name, installed ? concat("not in ", folder)
                                        : concat("there are no zones in ", folder, " (install the package tzdata)"));
  }
  Result<TimeZone> zone = parse(bytes);
  if (!zone) return no_such_zone(name, zone.error().message());
  return std::make_shared<const TimeZone>(std::move(*zone));
}

ZonePeriod TimeZone::period_at(std::int64_t at) const {
  const auto next = std::ranges::upper_bound(changes_, at, {}, &Change::at);
  if (next == changes_.end() && rule_) return by_rule(at);
  ZonePeriod period;
  period.offset = first_offset_;
  if (next != changes_.begin()) {
    period.begin = std::prev(next)->at;
    period.offset = std::prev(next)->offset;
  }
  if (next != changes_.end()) period.end = next->at;
  return period;
}

std::int64_t TimeZone::local_second(const YearDay& day, std::int64_t year) {
  std::int64_t number = 0;
  switch (day.kind) {
    case YearDay::Kind::month_week_day: {
      const std::int64_t first = day_number(year, day.month, 1);
      const int to_weekday = (day.day - weekday_of(first) + 7) % 7;
      int in_month = to_weekday + 7 * (day.week - 1);
      if (in_month >= days_in_month(year, day.month)) in_month -= 7;  // the fifth one is the last one
      number = first + in_month;
      break;
    }
    case YearDay::Kind::day_without_leap:  // 29 February is never counted
      number = day_number(year, 1, 1) + day.day - 1 + (is_leap_year(year) && day.day >= 60 ? 1 : 0);
      break;
    case YearDay::Kind::day_of_year: number = day_number(year, 1, 1) + day.day; break;
  }
  return number * seconds_per_day + day.second;
}

/// After the last change of the table: the rule's changes of the years around decide.
ZonePeriod TimeZone::by_rule(std::int64_t at) const {
  ZonePeriod period;
  period.offset = rule_->standard;
  if (!changes_.empty()) period.begin = changes_.back().at;
  if (!rule_->dates) return period;
  const std::int64_t year = civil_date(floor_div(at, seconds_per_day)).year;
  std::array<Change, 6> around{};  // two of each year, in order
  for (std::size_t index = 0; index < 3; ++index) {
    const std::int64_t each = year - 1 + static_cast<std::int64_t>(index);
    const Change to_summer{local_second(rule_->dates->first, each) - rule_->standard, rule_->summer};
    const Change to_standard{local_second(rule_->dates->second, each) - rule_->summer, rule_->standard};
    around[2 * index] = to_summer.at <= to_standard.at ? to_summer : to_standard;
    around[2 * index + 1] = to_summer.at <= to_standard.at ? to_standard : to_summer;
  }
  // Of two at one instant, as where it is summer all year, the one of the later year counts.
  for (const Change& change : around) {
    if (change.at <= at) {
      period.begin = std::max(period.begin, change.at);
      period.offset = change.offset;
    } else {
      period.end = change.at;
      break;
    }
  }
  return period;
}

}  // namespace dagverk::jobs
