#include "jobs/cut_text.hpp"

#include "dagverk/jobs/job_record.hpp"

namespace dagverk::jobs {

std::string cut_text(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  constexpr std::string_view mark = cut_mark;
  const bool marked = limit > mark.size();
  std::size_t size = marked ? limit - mark.size() : limit;
  const auto continues = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U; };
  for (int step = 0; step < 3 && size > 0 && continues(size); ++step) --size;
  std::string cut(text.substr(0, size));
  if (marked) cut += mark;
  return cut;
}

}  // namespace dagverk::jobs
