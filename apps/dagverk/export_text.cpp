#include "export_text.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {

std::string jobs_text(const jobs::ExportCounts& counts) {
  return concat(counts.jobs, counts.jobs == 1 ? " job" : " jobs");
}

std::string entries_text(const jobs::ExportCounts& counts, std::string_view before) {
  std::string text;
  if (counts.limits > 0) text = concat(before, counts.limits, counts.limits == 1 ? " limit" : " limits");
  if (counts.cron > 0) {
    text += concat(text.empty() ? before : ", ", counts.cron, counts.cron == 1 ? " cron entry" : " cron entries");
  }
  return text;
}

}  // namespace dagverk::app
