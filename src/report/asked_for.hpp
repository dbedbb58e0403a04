#pragma once

#include "dagverk/base/error.hpp"
#include "dagverk/report/formatters.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::detail {

/// Says what went wrong and ends the program with status 2.
[[noreturn]] void give_up(const Error& error);

/// The tests that DAGVERK_REPORT_RERUN lists; none when it is not set.
[[nodiscard]] std::optional<std::vector<std::string>> tests_asked_for();

struct AskedFor {
  std::unique_ptr<TestRecorder> recorder;  ///< null when no report is wanted
  bool takes_output = false;               ///< a formatter writes to standard output
};

/// Splits off a reporter for what DAGVERK_REPORT names, and takes the variables out of the environment: a test program
/// started by a test would write the same files.
[[nodiscard]] AskedFor reports_asked_for(const std::vector<NamedFormatter>& known);

}  // namespace dagverk::detail
