#pragma once

#include "dagverk/jobs/job_registry.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The classes that a node knows, told to others in the `detail` that it registers with: member `classes`.
namespace dagverk::jobs {

inline constexpr std::size_t told_classes_size_limit = std::size_t{32} << 10U;  ///< more are not told at all

/// `detail` (an object, or empty) with the names of the registry's classes; unchanged when it has that member, is no
/// object, or the names are too many.
[[nodiscard]] std::string detail_with_classes(std::string_view detail, const JobRegistry& registry);

/// Nothing when the node does not tell.
[[nodiscard]] std::optional<std::vector<std::string>> classes_in_detail(std::string_view detail);

}  // namespace dagverk::jobs
