#include "session.hpp"

#include "dagverk/worker/common_options.hpp"

namespace dagverk::app {

Session::Session(worker::Configuration configuration)
    : configuration_(std::move(configuration)), runtime_({.workers = 1}) {}

Result<std::unique_ptr<Session>> Session::open(const worker::ParsedLine& line, worker::MissingStore missing) {
  auto configuration = worker::configuration_of(line);
  if (!configuration) return configuration.error();
  std::unique_ptr<Session> session(new Session(std::move(*configuration)));
  auto store = worker::open_store(session->runtime_, session->configuration_, missing);
  if (!store) return store.error();
  session->store_ = std::move(*store);
  return session;
}

}  // namespace dagverk::app
