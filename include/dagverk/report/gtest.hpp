#pragma once

#include "dagverk/report/formatters.hpp"

#include <vector>

namespace dagverk {

/// The one line for a GoogleTest program with a main of its own, between InitGoogleTest and RUN_ALL_TESTS:
///
///     testing::InitGoogleTest(&argc, argv);
///     dagverk::report_google_tests();
///     return RUN_ALL_TESTS();
///
/// Semantics: does what DAGVERK_REPORT and DAGVERK_REPORT_RERUN ask for; without them nothing. The tests then run in a
///            child of the program (see split_off_reporter). When a formatter writes to standard output,
///            GoogleTest's own is left out. Nothing happens while tests are listed, nor in the child of a death test.
/// Threads:   call it before the program starts any.
/// Errors:    what cannot be done is said on standard error, and the program ends with status 2.
void report_google_tests(const std::vector<NamedFormatter>& known = built_in_formatters());

}  // namespace dagverk
