#pragma once

#include "dagverk/log/backends/batching.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <functional>
#include <memory>
#include <utility>

namespace dagverk::detail {

/// Sends the batches of one queue, one after the other, until the far end has taken each or will never take it.
class LogUploader : public GenServer<LogUploader> {
 public:
  struct Wake {};
  struct Retry {};

  LogUploader(std::shared_ptr<UploadQueue> queue, std::function<std::unique_ptr<LogTransport>()> make_transport,
              LineFormat format)
      : queue_(std::move(queue)), make_transport_(std::move(make_transport)), format_(std::move(format)) {}

  void init();
  Async<void> handle_cast(Wake wake);
  void handle_info(Retry retry);
  /// Sends what waits, as long as there is time.
  Async<void> terminate(const ExitReason& reason);

 private:
  /// One attempt with the oldest batch. False when it has to be tried again.
  Async<bool> send_oldest(std::shared_ptr<const UploadBatch> batch, Duration limit);
  [[nodiscard]] std::shared_ptr<const UploadBatch> next();

  std::shared_ptr<UploadQueue> queue_;  // with the backend
  std::function<std::unique_ptr<LogTransport>()> make_transport_;
  LineFormat format_;
  std::unique_ptr<LogTransport> transport_;
  Duration pause_{0};
};

}  // namespace dagverk::detail
