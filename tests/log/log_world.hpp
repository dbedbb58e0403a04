#pragma once

#include "dagverk/log/log.hpp"
#include "dagverk/log/log_backend.hpp"
#include "dagverk/log/log_pipeline.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {

/// What a test's backend wrote, and what it is to do. Outlives the backend's starts.
struct Sheet {
  std::vector<std::string> lines;
  std::function<void(std::string_view line)> before_line;  ///< may throw
  std::vector<std::size_t> batches;
  int opened = 0;
  int flushed = 0;
  int reopened = 0;
  std::string open_error;  ///< not empty: `open` fails with it

  [[nodiscard]] std::size_t count(std::string_view part) const {
    std::size_t found = 0;
    for (const std::string& line : lines) found += line.find(part) != std::string::npos ? 1U : 0U;
    return found;
  }
};

class SheetBackend final : public LogBackend {
 public:
  explicit SheetBackend(Sheet* sheet) : sheet_(*sheet) {}

  Result<void> open() override {
    ++sheet_.opened;
    if (!sheet_.open_error.empty()) return Error(ErrorCode::io, sheet_.open_error);
    return {};
  }
  WriteOutcome write(const LogBatch& batch) override {
    sheet_.batches.push_back(batch.size());
    for (std::size_t index = 0; index < batch.size(); ++index) {
      std::string text;
      batch.format(batch[index], text);
      if (sheet_.before_line) sheet_.before_line(text);
      sheet_.lines.push_back(text);
    }
    return {.written = batch.size()};
  }
  void flush() override { ++sheet_.flushed; }
  Result<void> reopen() override {
    ++sheet_.reopened;
    return {};
  }

 private:
  Sheet& sheet_;
};

[[nodiscard]] inline BackendSpec sheet_backend(std::string name, Sheet& sheet, OverloadRule rule = BoundedQueue{}) {
  BackendSpec spec = log_backend<SheetBackend>(std::move(name), &sheet);
  spec.format = LineFormat::message_only();
  spec.overload = rule;
  return spec;
}

/// A pipeline on virtual time, with a backend `main` that writes to `sheet`.
struct LogWorld {
  explicit LogWorld(OverloadRule rule = BoundedQueue{}, LogOptions options = quick()) : LogWorld(options) {
    pipeline->add_backend(sheet_backend("main", sheet, rule)).value();
  }
  explicit LogWorld(LogOptions options) : pipeline(LogPipeline::start(runtime, options).value()) {}

  /// Looks for lines at once instead of once a millisecond, so that no test needs to move time for that.
  [[nodiscard]] static LogOptions quick() {
    LogOptions options;
    options.linger = Duration::zero();
    return options;
  }
  void run() { runtime.run_until_idle(); }
  [[nodiscard]] BackendStats stats(std::string_view name = "main") const {
    const LogStats all = pipeline->stats();
    const BackendStats* found = all.find(name);
    if (found == nullptr) throw std::runtime_error("there is no such backend");
    return *found;
  }

  /// One more, which outlives the backends.
  [[nodiscard]] Sheet& new_sheet() { return sheets.emplace_back(); }

  Sheet sheet;
  std::deque<Sheet> sheets;
  DeterministicRuntime runtime;
  std::unique_ptr<LogPipeline> pipeline;
  Log log{*pipeline, "test"};
};

}  // namespace dagverk
