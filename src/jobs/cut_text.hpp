#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// `text` when it has at most `limit` bytes; else its beginning with the mark of a cut behind it, `limit` bytes in all.
/// No character is cut in two. A limit without room for the mark cuts without it.
[[nodiscard]] std::string cut_text(std::string_view text, std::size_t limit);

}  // namespace dagverk::jobs
