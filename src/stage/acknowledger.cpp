#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/detail/ack_dispatcher.hpp"

namespace dagverk::detail {

void warn_dead_letter(bool thrown) {
  Logger& logger = this_process::runtime().logger();
  const std::uint64_t stage = this_process::pid().number();
  if (thrown) {
    logger.error("stage.dead_letter_failed", {{"pid", stage}});
  } else {
    logger.warning("stage.dead_letter_dropped", {{"pid", stage}});
  }
}

}  // namespace dagverk::detail
