#pragma once

namespace dagverk::detail {

/// Keeps one pointer with the running process, for the library code that `key` stands for (an address of its own): what
/// a thread-local variable is to a thread. Replaces what was there. Must be called inside a process.
void set_process_value(const void* key, void* value);

/// The running process' pointer; null when it has none of that key, and outside of processes.
[[nodiscard]] void* process_value(const void* key) noexcept;

}  // namespace dagverk::detail
