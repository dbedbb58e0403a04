#include "worker/size_text.hpp"

#include <charconv>
#include <limits>
#include <system_error>

namespace dagverk::worker {

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::string_view units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::uint64_t count = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (fault != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  std::uint64_t unit_size_bytes = 1;
  for (const std::string_view known : units) {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (unit == known) return count <= limit / unit_size_bytes ? std::optional(count * unit_size_bytes) : std::nullopt;
    unit_size_bytes *= 1024;
  }
  return std::nullopt;
}

}  // namespace dagverk::worker
