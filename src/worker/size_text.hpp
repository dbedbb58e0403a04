#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dagverk::worker {

/// The bytes that `64KiB`, `512MiB`, `2GiB` or `100B` stands for. None for what has no unit, or is beyond 2^63.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace dagverk::worker
