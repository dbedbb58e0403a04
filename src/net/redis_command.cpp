#include "dagverk/net/redis_command.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <openssl/evp.h>

#include <array>

namespace dagverk::net {

namespace {

/// `*3\r\n` or `$3\r\n`.
void append_length(std::string& out, char mark, std::size_t length) {
  char text[24];
  text[0] = mark;
  char* const end = std::to_chars(text + 1, text + 22, length).ptr;
  end[0] = '\r';
  end[1] = '\n';
  out.append(text, static_cast<std::size_t>(end + 2 - text));
}

void append_word(std::string& out, std::string_view word) {
  append_length(out, '$', word.size());
  out.append(word).append("\r\n");
}

[[nodiscard]] std::string sha1_of(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  const int done = EVP_Digest(text.data(), text.size(), bytes.data(), &size, EVP_sha1(), nullptr);
  DAGVERK_ASSERT(done == 1);
  std::string hex;
  for (unsigned at = 0; at < size; ++at) {
    hex.push_back(digits[bytes[at] >> 4U]);
    hex.push_back(digits[bytes[at] & 15U]);
  }
  return hex;
}

}  // namespace

RedisCommand& RedisCommand::add(std::string_view word) & {
  append_word(body_, word);
  ++words_;
  return *this;
}

std::string_view RedisCommand::name() const noexcept {
  const std::string_view body = body_;
  const std::size_t begin = body.find('\n') + 1;
  return body.substr(begin, body.find('\r', begin) - begin);
}

std::size_t RedisCommand::size_bytes() const noexcept {
  std::size_t size = 3 + body_.size();  // `*`, `\r\n`, and the digits:
  for (std::size_t rest = words_; rest > 0; rest /= 10) ++size;
  return size;
}

void RedisCommand::encode(std::string& out) const {
  append_length(out, '*', words_);
  out.append(body_);
}

struct RedisScript::Body {
  std::string text;
  std::string sha1;
};

RedisScript::RedisScript(std::string text) {
  std::string sha1 = sha1_of(text);
  body_ = std::make_shared<const Body>(Body{.text = std::move(text), .sha1 = std::move(sha1)});
}

std::string_view RedisScript::text() const noexcept { return body_->text; }
std::string_view RedisScript::sha1() const noexcept { return body_->sha1; }

RedisScriptCall& RedisScriptCall::key(std::string_view key) & {
  keys_.add(key);
  return *this;
}

RedisScriptCall&& RedisScriptCall::key(std::string_view key) && {
  keys_.add(key);
  return std::move(*this);
}

void RedisScriptCall::encode(std::string& out, bool with_text) const {
  append_length(out, '*', 3 + keys_.words_ + arguments_.words_);
  append_word(out, with_text ? "EVAL" : "EVALSHA");
  append_word(out, with_text ? script_.text() : script_.sha1());
  append_word(out, concat(keys_.words_));
  out.append(keys_.body_).append(arguments_.body_);
}

RedisBatch& RedisBatch::add(const RedisCommand& command) & {
  command.encode(bytes_);
  ++size_;
  return *this;
}

RedisBatch& RedisBatch::add(RedisScriptCall call) & {
  call.encode(bytes_, false);
  scripts_.push_back({.index = size_, .call = std::move(call)});
  ++size_;
  return *this;
}

}  // namespace dagverk::net
