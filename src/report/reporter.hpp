#pragma once

#include "report/record_channel.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/report/formatters.hpp"

#include <string>
#include <vector>

namespace dagverk::detail {

/// How a test program ended, as its guard tells the reporter.
struct ProgramEnd {
  int signal = 0;  ///< 0: it exited
  int exit_status = 0;
};

struct ReporterInput {
  int records = -1;  ///< the stream of records
  int end = -1;      ///< a ProgramEnd; closed without one when the guard was killed
  int done = -1;     ///< gets a byte when all is written that can be
  const RecordTail* tail = nullptr;
  Duration formatter_limit;  ///< ReportOptions has it
};

/// Runs formatters over what a test program tells, until it has ended; what it says to people goes to standard error.
void run_reporter(const ReporterInput& input, std::vector<FormatterSpec> formatters, std::string program);

/// `SIGSEGV` for 11.
[[nodiscard]] std::string signal_name(int signal);

}  // namespace dagverk::detail
