#pragma once

#include <cstdint>

namespace dagverk {

/// Which events a full buffer gives up.
enum class BufferKeep : std::uint8_t {
  newest,  ///< the oldest buffered events make room
  oldest,  ///< the new events are dropped
};

}  // namespace dagverk
