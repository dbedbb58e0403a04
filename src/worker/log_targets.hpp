#pragma once

#include <string>
#include <string_view>
#include <vector>

/// The setting `log.to`: log backends as texts, several with commas.
namespace dagverk::worker {

/// The texts one by one, without the blanks around them. Lifetime: point into `text`.
[[nodiscard]] std::vector<std::string_view> log_targets(std::string_view text);

/// Whether each of them is a backend, and none is there twice.
[[nodiscard]] bool are_log_targets(std::string_view text);

/// `text` with relative paths counted from `folder`.
[[nodiscard]] std::string log_targets_below(std::string_view folder, std::string_view text);

}  // namespace dagverk::worker
