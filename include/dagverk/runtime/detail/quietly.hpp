#pragma once

#include "dagverk/runtime/detail/type_name.hpp"

#include <memory>
#include <string_view>
#include <type_traits>

namespace dagverk::detail {

/// Logs that something of users' threw while it was destroyed where nobody can do better.
void report_failed_cleanup(std::string_view what) noexcept;

/// Destroys `object`. A destructor that throws is reported; the process goes on.
template <class T>
void destroy_quietly(T& object) noexcept {
  if constexpr (std::is_nothrow_destructible_v<T>) {
    std::destroy_at(&object);
  } else {
    try {
      std::destroy_at(&object);
    } catch (...) {
      report_failed_cleanup(type_name<T>());
    }
  }
}

/// Destroys a coroutine. A destructor of what it holds that throws is reported.
template <class Handle>
void destroy_frame_quietly(Handle frame) noexcept {
  try {
    frame.destroy();
  } catch (...) {
    report_failed_cleanup("coroutine");
  }
}

}  // namespace dagverk::detail
