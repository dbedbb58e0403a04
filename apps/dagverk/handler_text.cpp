#include "handler_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <chrono>

namespace dagverk::app {

JsonObject handler_json(const HandlerStats& handler, std::string_view node) {
  JsonObject object;
  object.text("handler", handler.name)
      .text("node", node)
      .text("state", to_string(handler.state))
      .text("rule", handler.overflow)
      .number("published", handler.published)
      .number("delivered", handler.delivered)
      .number("buffered", handler.buffered)
      .raw("dropped", JsonObject()
                          .number("overflow", handler.dropped.overflow)
                          .number("crashed", handler.dropped.crashed)
                          .number("filtered", handler.dropped.filtered)
                          .number("consumer_down", handler.dropped.consumer_down)
                          .number("shutdown", handler.dropped.shutdown)
                          .number("sampled", handler.dropped.sampled)
                          .number("ingress", handler.dropped.ingress)
                          .number("coalesced", handler.dropped.coalesced)
                          .number("spill_failed", handler.dropped.spill_failed)
                          .str())
      .number("lag_ms",
              static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(handler.lag).count()))
      .number("restarts", handler.restarts);
  if (!handler.last_error.empty()) object.text("last_error", handler.last_error);
  return object;
}

std::string lag_text(const HandlerStats& handler) {
  if (handler.buffered == 0) return "-";
  return worker::duration_text(std::chrono::duration_cast<std::chrono::milliseconds>(handler.lag));
}

}  // namespace dagverk::app
