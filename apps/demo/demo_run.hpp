#pragma once

#include <cstddef>
#include <string>

namespace dagverk::demo {

struct DemoOptions {
  std::string directory = {};   ///< empty: `default_directory()`
  std::size_t files_max = 400;  ///< two jobs each
  bool keep = false;            ///< leave the store behind
};

/// Runs the whole demo and prints its tables. The exit code: 0 when every check held, 1 otherwise.
[[nodiscard]] int run_demo(const DemoOptions& options);

}  // namespace dagverk::demo
