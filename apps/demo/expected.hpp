#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace dagverk::demo {

/// Regular, readable files under `directory`, in order of their names, at most `limit` and none above 1 MiB. Files
/// whose names have characters that the coreutils escape in their output are passed over.
[[nodiscard]] Result<std::vector<std::string>> pick_files(const std::string& directory, std::size_t limit);

/// A directory with a few hundred files that every Debian has.
[[nodiscard]] std::string default_directory();

/// What the jobs should say, computed by the system's own tools.
struct Expected {
  std::map<std::string, std::string> checksums;  ///< path → sha256, by sha256sum
  std::map<std::string, std::string> counts;     ///< path → `lines words bytes`, by wc
};
[[nodiscard]] Result<Expected> compute_expected(const std::vector<std::string>& files);

}  // namespace dagverk::demo
