#include "demo_jobs.hpp"

#include "dagverk/base/concat.hpp"

#include <chrono>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace dagverk::demo {

using namespace std::chrono_literals;

void TextCounts::add(std::string_view text) noexcept {
  bytes += text.size();
  for (const char c : text) {
    if (c == '\n') ++lines;
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    const bool printable = c >= ' ' && c <= '~';
    if (space) {
      in_word_ = false;
    } else if (printable && !in_word_) {
      in_word_ = true;
      ++words;
    }
  }
}

std::string TextCounts::to_string() const { return concat(lines, " ", words, " ", bytes); }

namespace {

void count_text(jobs::JobContext& job, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  TextCounts counts;
  std::vector<char> chunk(std::size_t{1} << 16U);
  while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || file.gcount() > 0) {
    counts.add({chunk.data(), static_cast<std::size_t>(file.gcount())});
  }
  job.set_result(counts.to_string());
}

}  // namespace

void define_jobs(jobs::JobRegistry& registry) {
  const jobs::RetryPolicy twice{.max_retries = 2, .delays = {200ms, 300ms}};
  registry.define_command("Checksum", {.run = {"sha256sum", "--", "{0}"}});
  registry.define("CountText", count_text);
  registry.define("Flaky",
                  [](jobs::JobContext& job, const std::string& name) {
                    if (job.attempt() <= 2)
                      throw std::runtime_error(concat(name, " is not ready at attempt ", job.attempt()));
                    job.set_result(concat("attempt ", job.attempt()));
                  },
                  {.retry = twice});
  registry.define("Doomed", [](const std::string& name) { throw std::logic_error(name + " never works"); },
                  {.retry = twice});
  registry.define("Later", [](jobs::JobContext& job, const std::string& name) { job.set_result(name); });
}

}  // namespace dagverk::demo
