#pragma once

#include "dagverk/runtime/registry.hpp"
#include "dagverk/runtime/task.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk {

/// Calls `function(entry)` for every entry of `key`, in up to `parts` tasks linked to this process, and waits for all
/// of them, however long it takes. Returns how many entries there were.
///
/// Semantics: Registry.dispatch with `parallel: true`. An exception out of `function` ends its task and, over the link,
///            the calling process, unless that traps exits: then it is the error `exited`.
/// Threads:   inside a process; `function` is copied into every task and called from several threads at once.
/// Errors:    `invalid_argument` when `parts` is zero.
template <class Key, class Value, class Function>
[[nodiscard]] Async<Result<std::size_t>> dispatch_parallel(const Registry<Key, Value>& registry, const Key& key,
                                                           const Function& function, std::size_t parts) {
  if (parts == 0) co_return detail::bad_task_option("dispatch_parallel: parts must be 1 or more, got 0");
  const RegistryEntries<Value> entries = registry.lookup(key);
  const std::size_t share = (entries.size() + parts - 1) / parts;
  std::vector<Task<std::monostate>> tasks;
  for (std::size_t first = 0; first < entries.size(); first += share) {
    const std::size_t last = std::min(entries.size(), first + share);
    tasks.push_back(task::async([entries, function, first, last] {
      for (std::size_t index = first; index < last; ++index) function(entries[index]);
    }));
  }
  Result<std::vector<std::monostate>> done = co_await task::await_many(tasks, Duration::max());
  if (!done) co_return done.error();
  co_return entries.size();
}

}  // namespace dagverk
