#include "dagverk/base/error.hpp"

#include <atomic>
#include <cstddef>
#include <utility>

namespace dagverk {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::internal: return "internal";
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::already_exists: return "already_exists";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::no_process: return "no_process";
    case ErrorCode::exited: return "exited";
    case ErrorCode::calling_self: return "calling_self";
    case ErrorCode::wrong_type: return "wrong_type";
    case ErrorCode::wrong_thread: return "wrong_thread";
    case ErrorCode::ignored: return "ignored";
    case ErrorCode::mailbox_full: return "mailbox_full";
    case ErrorCode::shutting_down: return "shutting_down";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::outcome_unknown: return "outcome_unknown";
    case ErrorCode::refused: return "refused";
    case ErrorCode::malformed_job: return "malformed_job";
    case ErrorCode::malformed: return "malformed";
    case ErrorCode::too_large: return "too_large";
    case ErrorCode::io: return "io";
    case ErrorCode::store_full: return "store_full";
    case ErrorCode::store_newer: return "store_newer";
    case ErrorCode::not_a_store: return "not_a_store";
    case ErrorCode::permission: return "permission";
    case ErrorCode::configuration: return "configuration";
    case ErrorCode::unsupported: return "unsupported";
  }
  return "internal";
}

// A std::shared_ptr would be two words and a separate control block; this keeps an Error at two words altogether.
struct Error::Text {
  explicit Text(std::string text) : value(std::move(text)) {}

  std::string value;
  std::atomic<std::size_t> owners{1};
};

namespace {

template <class Text>
Text* share(Text* text) noexcept {
  if (text != nullptr) text->owners.fetch_add(1, std::memory_order_relaxed);
  return text;
}

template <class Text>
void release(Text* text) noexcept {
  // acq_rel: the last owner sees every other owner's reads before it frees the text.
  if (text != nullptr && text->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete text;
}

}  // namespace

Error::Error(ErrorCode code, std::string message)
    : code_(code), text_(message.empty() ? nullptr : new Text(std::move(message))) {}

Error::Error(const Error& other) noexcept : code_(other.code_), text_(share(other.text_)) {}

Error::Error(Error&& other) noexcept : code_(other.code_), text_(std::exchange(other.text_, nullptr)) {}

// NOLINTNEXTLINE(bugprone-unhandled-self-assignment): shares before it releases
Error& Error::operator=(const Error& other) noexcept {
  Text* fresh = share(other.text_);
  release(std::exchange(text_, fresh));
  code_ = other.code_;
  return *this;
}

Error& Error::operator=(Error&& other) noexcept {
  if (this == &other) return *this;
  release(std::exchange(text_, std::exchange(other.text_, nullptr)));
  code_ = other.code_;
  return *this;
}

Error::~Error() { release(text_); }

std::string_view Error::message() const noexcept {
  return text_ != nullptr ? std::string_view(text_->value) : to_string(code_);
}

Error Error::with(std::string_view context) const {
  const std::string_view inner = message();
  std::string text;
  text.reserve(context.size() + 2 + inner.size());
  text.append(context).append(": ").append(inner);
  return Error(code_, std::move(text));
}

}  // namespace dagverk
