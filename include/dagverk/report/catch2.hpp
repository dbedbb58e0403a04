#pragma once

#include "dagverk/report/formatters.hpp"

#include <string>
#include <vector>

namespace dagverk {

/// The one line for a Catch2 program (v2 or v3) with a main of its own, between `applyCommandLine` and `run`; not when
/// the command line only asks for lists. Link `dagverk::report_catch2`, or `dagverk::report_catch2_main` for all.
///
/// Semantics: does what DAGVERK_REPORT asks for; without it nothing. A TEST_CASE is a test, its class or its file's
///            name the case. Catch2's own reporter writes as always. What a test failed before a fatal signal is
///            reported, the test is `crashed`.
/// Threads:   call it before the program starts any.
/// Errors:    what cannot be done is said on standard error, and the program ends with status 2.
void report_catch_tests(const std::vector<NamedFormatter>& known = built_in_formatters());

/// What DAGVERK_REPORT_RERUN lists, as one test spec to take the place of those in Catch2's `configData().testsOrTags`;
/// empty when the variable is not set.
/// Errors: as report_catch_tests.
[[nodiscard]] std::vector<std::string> failed_catch_tests();

}  // namespace dagverk
