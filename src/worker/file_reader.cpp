#include "worker/file_reader.hpp"

#include "worker/size_text.hpp"

#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <algorithm>

namespace dagverk::worker {
namespace {

/// A value for an error message: simple ones as they are, others by their kind.
std::string got(const toml::node& node) {
  if (const auto* text = node.as_string()) return concat("got ", shown(SettingValue(text->get())));
  if (const auto* number = node.as_integer()) return concat("got ", number->get());
  if (const auto* number = node.as_floating_point()) return concat("got ", number->get());
  if (const auto* flag = node.as_boolean()) return concat("got ", flag->get());
  if (const auto* list = node.as_array()) return list->empty() ? "got an empty list" : "got a list";
  if (node.is_table()) return "got a table";
  return "got a date or time";
}

}  // namespace

FileReader::FileReader(const std::string& path, std::string shown_path, Mistakes& mistakes)
    : shown_path_(std::move(shown_path)), mistakes_(&mistakes) {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos) folder_ = path.substr(0, std::max<std::size_t>(slash, 1));
}

FileReader::Members FileReader::in_order(const toml::table& table) {
  Members members;
  for (const auto& [key, node] : table) members.emplace_back(std::string(key.str()), &node);
  std::ranges::sort(members, [](const auto& a, const auto& b) {
    const auto x = a.second->source().begin;
    const auto y = b.second->source().begin;
    return x.line != y.line ? x.line < y.line : x.column < y.column;
  });
  return members;
}

std::string FileReader::place(const toml::node& node) const {
  return concat(printable(shown_path_), ":", node.source().begin.line);
}

void FileReader::mistake(const toml::node& node, std::string_view key, std::string_view what) const {
  mistakes_->add(place(node), printable(key, 300), what);
}

void FileReader::wrong(const toml::node& node, std::string_view key, std::string_view allowed) const {
  mistake(node, key, concat(got(node), "; allowed: ", allowed));
}

void FileReader::unknown_key(const toml::node& node, std::string_view full_key, std::string_view key,
                             std::span<const std::string_view> known) const {
  std::string what = "no such key";
  if (const auto near = nearest_word(key, known)) {
    what += concat("; did you mean ", *near, "?");
  } else {
    what += "; allowed: ";
    for (std::size_t index = 0; index < known.size(); ++index) what += concat(index == 0 ? "" : ", ", known[index]);
  }
  mistake(node, full_key, what);
}

const toml::table* FileReader::table_or_mistake(const toml::node& node, std::string_view key,
                                                std::string_view allowed) const {
  if (!node.is_table()) wrong(node, key, allowed);
  return node.as_table();
}

std::optional<std::vector<std::string>> FileReader::texts(const toml::node& node) {
  const auto* list = node.as_array();
  if (list == nullptr) return std::nullopt;
  std::vector<std::string> all;
  for (const toml::node& element : *list) {
    const auto* text = element.as_string();
    if (text == nullptr || text->get().find('\0') != std::string::npos) return std::nullopt;
    all.push_back(text->get());
  }
  return all;
}

void FileReader::read_duration(const toml::node& node, std::string_view key, Duration& into, Duration min, Duration max,
                               std::string_view allowed) const {
  const auto* text = node.as_string();
  const auto parsed =
      text == nullptr ? Result<Duration>(Error(ErrorCode::invalid_argument)) : parse_duration(text->get());
  if (!parsed || *parsed < min || *parsed > max) return wrong(node, key, allowed);
  into = *parsed;
}

void FileReader::read_size(const toml::node& node, std::string_view key, std::uint64_t& into, std::uint64_t min,
                           std::uint64_t max, std::string_view allowed) const {
  const auto* text = node.as_string();
  const std::optional<std::uint64_t> size_bytes = text == nullptr ? std::nullopt : parse_size(text->get());
  if (!size_bytes || *size_bytes < min || *size_bytes > max) return wrong(node, key, allowed);
  into = *size_bytes;
}

void FileReader::read_queue_name(const toml::node& node, std::string_view key, std::string& into) const {
  const auto* text = node.as_string();
  if (text == nullptr) return wrong(node, key, "the name of a queue");
  if (const auto good = jobs::check_queue_name(text->get()); !good) {
    return mistake(node, key, good.error().message());
  }
  into = text->get();
}

}  // namespace dagverk::worker
