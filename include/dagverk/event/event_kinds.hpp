#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <variant>

namespace dagverk {

/// The kind of an event, as a number below 64. Events of one type have one kind, 0; those of a std::variant have one
/// per alternative. A program may specialise it for its own type (and then has no `kind_of<Alternative>`).
template <class E>
struct EventKind {
  static constexpr std::size_t count = 1;
  [[nodiscard]] static constexpr unsigned of(const E& /*event*/) noexcept { return 0; }
};

template <class... Alternatives>
struct EventKind<std::variant<Alternatives...>> {
  static constexpr std::size_t count = sizeof...(Alternatives);
  static_assert(count <= 64, "a set of kinds is one 64-bit word");
  [[nodiscard]] static constexpr unsigned of(const std::variant<Alternatives...>& event) noexcept {
    return static_cast<unsigned>(event.index() % 64);
  }

  template <class Alternative>
  [[nodiscard]] static consteval unsigned of_alternative() {
    constexpr bool same[] = {std::is_same_v<Alternative, Alternatives>...};
    unsigned kind = 0;
    while (!same[kind]) ++kind;  // runs off the end, and so does not compile, when the variant has no such alternative
    return kind;
  }
};

/// The kind of the variant `E`'s alternative `Alternative`.
template <class E, class Alternative>
inline constexpr unsigned kind_of = EventKind<E>::template of_alternative<Alternative>();

/// A set of event kinds.
class EventKinds {
 public:
  [[nodiscard]] static constexpr EventKinds all() noexcept { return EventKinds(~std::uint64_t{0}); }
  [[nodiscard]] static constexpr EventKinds none() noexcept { return EventKinds(0); }
  /// The named alternatives of the variant `E`: `EventKinds::of<Event, JobFailed, JobDied>()`.
  template <class E, class... Chosen>
  [[nodiscard]] static constexpr EventKinds of() noexcept {
    return EventKinds(((std::uint64_t{1} << kind_of<E, Chosen>) | ... | std::uint64_t{0}));
  }
  [[nodiscard]] static constexpr EventKinds from_word(std::uint64_t word) noexcept { return EventKinds(word); }

  [[nodiscard]] constexpr bool contains(unsigned kind) const noexcept { return ((word_ >> (kind % 64U)) & 1U) != 0; }
  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }

  friend constexpr EventKinds operator|(EventKinds a, EventKinds b) noexcept { return EventKinds(a.word_ | b.word_); }
  friend constexpr EventKinds operator&(EventKinds a, EventKinds b) noexcept { return EventKinds(a.word_ & b.word_); }
  friend constexpr bool operator==(EventKinds, EventKinds) noexcept = default;

 private:
  constexpr explicit EventKinds(std::uint64_t word) noexcept : word_(word) {}

  std::uint64_t word_;
};

}  // namespace dagverk
