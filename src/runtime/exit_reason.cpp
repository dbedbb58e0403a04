#include "dagverk/runtime/exit_reason.hpp"

#include <utility>

namespace dagverk {

ExitReason::ExitReason(Kind kind, std::string type, std::string message)
    : kind_(kind), text_(std::make_shared<const Text>(Text{std::move(type), std::move(message)})) {}

ExitReason ExitReason::shutdown_with(std::string text) { return {Kind::shutdown_with, {}, std::move(text)}; }
ExitReason ExitReason::error(std::string type, std::string message) {
  return {Kind::error, std::move(type), std::move(message)};
}
ExitReason ExitReason::custom(std::string text) { return {Kind::custom, {}, std::move(text)}; }

std::string_view ExitReason::type() const noexcept {
  return text_ ? std::string_view(text_->type) : std::string_view();
}
std::string_view ExitReason::message() const noexcept {
  return text_ ? std::string_view(text_->message) : std::string_view();
}

std::string ExitReason::to_string() const {
  std::string text;
  switch (kind_) {
    case Kind::normal: return "normal";
    case Kind::shutdown: return "shutdown";
    case Kind::kill: return "kill";
    case Kind::killed: return "killed";
    case Kind::noproc: return "noproc";
    case Kind::shutdown_with: text = "shutdown"; break;
    case Kind::error: text.append("error ").append(type()); break;
    case Kind::custom: return std::string(message());
  }
  if (!message().empty()) text.append(": ").append(message());
  return text;
}

}  // namespace dagverk
