#include "jobs/node_classes.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::jobs {
namespace {

constexpr unsigned detail_depth_limit = 32;

}  // namespace

std::string detail_with_classes(std::string_view detail, const JobRegistry& registry) {
  std::string list = "[";
  for (const JobClass* job_class : registry.classes()) {
    if (list.size() > 1) list += ',';
    json::append_text(list, job_class->name);
  }
  list += ']';
  const std::string_view object = detail.empty() ? "{}" : detail;
  if (list.size() > told_classes_size_limit) return std::string(detail);
  json::Walk walk(object, json::Kind::object, detail_depth_limit);
  bool has_members = false;
  while (walk.next()) {
    has_members = true;
    if (walk.item().key == "classes") return std::string(detail);
  }
  if (walk.fault()) return std::string(detail);
  return concat(object.substr(0, walk.body_end()), has_members ? "," : "", "\"classes\":", list,
                object.substr(walk.body_end()));
}

std::optional<std::vector<std::string>> classes_in_detail(std::string_view detail) {
  std::optional<std::vector<std::string>> names;
  json::Walk walk(detail, json::Kind::object, detail_depth_limit);
  while (walk.next()) {
    if (walk.item().key != "classes" || json::kind_of(walk.item().value) != json::Kind::array) continue;
    names.emplace();
    json::Walk list(walk.item().value, json::Kind::array, detail_depth_limit);
    while (list.next()) {
      const std::string_view value = list.item().value;
      if (json::kind_of(value) != json::Kind::text) continue;
      json::decode_text(value.substr(1, value.size() - 2), names->emplace_back());
    }
  }
  if (walk.fault()) return std::nullopt;
  return names;
}

}  // namespace dagverk::jobs
