#include "worker/log_targets.hpp"

#include "worker/settings.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/log_upload/named_upload.hpp"

#include <algorithm>
#include <cstddef>
#include <set>

namespace dagverk::worker {

std::vector<std::string_view> log_targets(std::string_view text) {
  std::vector<std::string_view> targets;
  while (true) {
    const std::size_t comma = text.find(',');
    std::string_view target = text.substr(0, comma);
    while (target.starts_with(' ')) target.remove_prefix(1);
    while (target.ends_with(' ')) target.remove_suffix(1);
    targets.push_back(target);
    if (comma == std::string_view::npos) return targets;
    text.remove_prefix(comma + 1);
  }
}

bool are_log_targets(std::string_view text) {
  std::set<std::string_view> seen;
  return std::ranges::all_of(log_targets(text), [&](std::string_view target) {
    return any_backend_from_text(std::string(target), target).has_value() && seen.insert(target).second;
  });
}

std::string log_targets_below(std::string_view folder, std::string_view text) {
  std::string all;
  for (const std::string_view target : log_targets(text)) {
    const bool has_path = target.starts_with("file:") || target.starts_with("json:");
    constexpr std::size_t scheme_size = 5;
    all += concat(all.empty() ? "" : ",",
                  has_path ? concat(target.substr(0, scheme_size), path_below(folder, target.substr(scheme_size)))
                           : std::string(target));
  }
  return all;
}

}  // namespace dagverk::worker
