#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/configuration.hpp"
#include "dagverk/worker/open_store.hpp"

#include <memory>
#include <utility>

namespace dagverk::app {

/// The configuration and the open store of one short command, with blocking calls.
class Session {
 public:
  /// Errors: of the configuration, of the store.
  [[nodiscard]] static Result<std::unique_ptr<Session>> open(const worker::ParsedLine& line,
                                                             worker::MissingStore missing);

  [[nodiscard]] const worker::Configuration& configuration() const noexcept { return configuration_; }
  [[nodiscard]] jobs::JobStore& store() noexcept { return *store_; }
  [[nodiscard]] RuntimeBase& runtime() noexcept { return runtime_; }
  [[nodiscard]] WallTime now() const noexcept { return runtime_.clock().wall_now(); }

  template <class T>
  [[nodiscard]] Result<T> wait(Async<Result<T>> work) {
    return runtime_.run(std::move(work));
  }

 private:
  explicit Session(worker::Configuration configuration);

  worker::Configuration configuration_;
  Runtime runtime_;
  std::unique_ptr<jobs::JobStore> store_;
};

}  // namespace dagverk::app
