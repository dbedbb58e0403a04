#include "dagverk/runtime/detail/exit_hook.hpp"

#include "process_extra.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::detail {

void add_exit_hook(std::unique_ptr<ExitHook> hook) {
  DAGVERK_ASSERT(current_process != nullptr);
  extra_of(*current_process).exit_hooks.push_back(std::move(hook));
}

void remove_exit_hook(const ExitHook* hook) noexcept {
  DAGVERK_ASSERT(current_process != nullptr);
  if (current_process->extra == nullptr) return;
  auto& hooks = current_process->extra->exit_hooks;
  const auto found =
      std::ranges::find_if(hooks, [hook](const std::unique_ptr<ExitHook>& held) { return held.get() == hook; });
  if (found == hooks.end()) return;
  const std::unique_ptr<ExitHook> removed = std::move(*found);  // destroyed when the list is whole again
  hooks.erase(found);
}

std::size_t exit_hook_count() noexcept {
  DAGVERK_ASSERT(current_process != nullptr);
  return current_process->extra == nullptr ? 0 : current_process->extra->exit_hooks.size();
}

}  // namespace dagverk::detail
