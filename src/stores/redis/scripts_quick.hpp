#pragma once

#include <string_view>

namespace dagverk::stores::redis {

/// The usual case of `take` and of `change`, to stand before all else in them: it does what they would do, with few
/// commands and no functions to make first, or changes nothing and lets them go on. Needs `oversize`.
[[nodiscard]] std::string_view quick_take_source();
[[nodiscard]] std::string_view quick_change_source();

}  // namespace dagverk::stores::redis
