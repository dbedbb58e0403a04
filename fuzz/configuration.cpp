#include "dagverk/worker/configuration.hpp"

#include "fuzz_targets.hpp"
#include "worker/settings.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <string>

namespace dagverk::fuzz {

void configuration(std::string_view bytes) {
  worker::Configuration read;
  worker::Mistakes mistakes;
  const Result<void> done = worker::read_configuration_text(bytes, "/etc/dagverk.toml", "dagverk.toml", read, mistakes);
  const std::string told = done ? mistakes.text() : std::string(done.error().message());
  // It is shown on a terminal: lines of text, and nothing that a terminal would act on.
  DAGVERK_ASSERT(std::ranges::none_of(told, [](char c) { return c != '\n' && (c < ' ' || c == '\x7f') && c >= 0; }));
  if (!done || !mistakes.empty()) return;
  DAGVERK_ASSERT(read.concurrency >= 1 && read.concurrency <= worker::concurrency_max);
  for (const worker::QueueSettings& queue : read.queues) DAGVERK_ASSERT(!queue.name.empty());
  jobs::JobRegistry registry;
  worker::define_commands(read, registry);
  // What only the registry can judge (a variable's name, a placeholder inside `sh -c`) is a mistake of the whole
  // configuration, which asks it, too.
  const Result<void> checked = registry.check();
  DAGVERK_ASSERT(checked || (checked.error().code() == ErrorCode::configuration && !checked.error().message().empty()));
  static_cast<void>(worker::shown_store(read));
}

}  // namespace dagverk::fuzz
