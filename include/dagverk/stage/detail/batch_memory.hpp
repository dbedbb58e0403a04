#pragma once

#include <cstddef>

namespace dagverk::detail {

/// Memory for the events of a batch: small ones from the chunks that messages come from, larger ones from blocks that
/// the thread keeps which frees them.
///
/// Threads: any; a block may be freed on another thread than the one that allocated it.
/// Bounds:  a thread keeps 256 KiB, in blocks of at most 64 KiB.
[[nodiscard]] void* batch_allocate(std::size_t size);
/// `size` as it was asked for.
void batch_free(void* block, std::size_t size) noexcept;

}  // namespace dagverk::detail
