#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace dagverk {

/// Holds a static object that must stay valid while the program ends: its destructor never runs.
///
/// Semantics: `exit()` destroys static objects while other threads still run; what those may use is held in one of
///            these. What the object owns stays reachable, so leak checkers are content.
/// Threads:   as the object's own.
template <class T>
class NeverDestroyed {
 public:
  template <class... Args>
  explicit NeverDestroyed(Args&&... args) {
    ::new (static_cast<void*>(place_)) T(std::forward<Args>(args)...);
  }
  NeverDestroyed(const NeverDestroyed&) = delete;
  NeverDestroyed& operator=(const NeverDestroyed&) = delete;
  ~NeverDestroyed() = default;

  [[nodiscard]] T& operator*() noexcept { return *std::launder(reinterpret_cast<T*>(place_)); }

 private:
  alignas(T) std::byte place_[sizeof(T)];
};

}  // namespace dagverk
