#include "net/redis_reader.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::net {

/// What hiredis calls for each value that it has read. A null answer makes it stop, out of memory as it thinks.
struct RedisReader::Callbacks {
  [[nodiscard]] static RedisReader& of(const redisReadTask& task) { return *static_cast<RedisReader*>(task.privdata); }

  static void* string(const redisReadTask* task, char* bytes, std::size_t size) noexcept {
    RedisReader& self = of(*task);
    self.bytes_ += size;
    RedisReply* const reply = self.place(*task);
    if (reply == nullptr) return nullptr;
    std::string text(bytes, size);
    *reply = task->type == REDIS_REPLY_STRING  ? RedisReply::of_string(std::move(text))
             : task->type == REDIS_REPLY_ERROR ? RedisReply::of_error(std::move(text))
                                               : RedisReply::of_status(std::move(text));
    return reply;
  }

  static void* array(const redisReadTask* task, int size) noexcept {
    RedisReader& self = of(*task);
    self.items_ += static_cast<std::size_t>(size);
    RedisReply* const reply = self.place(*task);
    if (reply == nullptr) return nullptr;
    std::vector<RedisReply> items;
    items.reserve(std::min<std::size_t>(static_cast<std::size_t>(size), 64));  // the rest when it comes
    *reply = RedisReply::of_array(std::move(items));
    return reply;
  }

  static void* integer(const redisReadTask* task, long long value) noexcept {
    RedisReply* const reply = of(*task).place(*task);
    if (reply != nullptr) *reply = RedisReply::of_integer(value);
    return reply;
  }

  static void* nil(const redisReadTask* task) noexcept { return of(*task).place(*task); }

  static void free(void* /*reply: it is the reader's own*/) noexcept {}

  static inline redisReplyObjectFunctions table = {&string, &array, &integer, &nil, &free};
};

RedisReader::RedisReader(std::size_t bytes_max, std::size_t items_max)
    : bytes_max_(bytes_max), items_max_(items_max), reader_(redisReaderCreateWithFunctions(&Callbacks::table)) {
  if (reader_ == nullptr) throw std::bad_alloc();
  reader_->privdata = this;
}

/// Where the value of a task goes: the whole reply, or the end of the array it is in. Null when a bound is passed.
RedisReply* RedisReader::place(const redisReadTask& task) {
  if (bytes_ > bytes_max_ || items_ > items_max_) {
    over_ = true;
    return nullptr;
  }
  if (task.parent == nullptr) return &(reply_ = RedisReply());
  // Only the innermost array grows, so the addresses of those around it, which hiredis keeps, stay valid.
  auto& items = std::get<std::vector<RedisReply>>(static_cast<RedisReply*>(task.parent->obj)->value_);
  return &items.emplace_back();
}

void RedisReader::feed(std::string_view bytes) {
  if (redisReaderFeed(reader_.get(), bytes.data(), bytes.size()) != REDIS_OK && reader_->err == REDIS_ERR_OOM) {
    throw std::bad_alloc();
  }
}

Result<std::optional<RedisReply>> RedisReader::next() {
  void* done = nullptr;
  if (redisReaderGetReply(reader_.get(), &done) != REDIS_OK) return fault();
  if (done == nullptr) {
    if (waits_for_too_much()) return too_large();
    return std::optional<RedisReply>();
  }
  DAGVERK_ASSERT(done == &reply_);
  bytes_ = 0;
  items_ = 0;
  return std::optional<RedisReply>(std::exchange(reply_, RedisReply()));
}

Error RedisReader::fault() const {
  if (over_) return too_large();
  return Error(ErrorCode::malformed, concat("the answer is not Redis' protocol: ", std::string_view(reader_->errstr)));
}

Error RedisReader::too_large() const {
  return Error(ErrorCode::too_large,
               concat("the reply has more than ", bytes_max_, " bytes, or more than ", items_max_, " items"));
}

/// Whether what has begun to arrive is too long, before all of it is here. hiredis leaves a string's length at the
/// front of its buffer until the string is complete.
bool RedisReader::waits_for_too_much() const noexcept {
  const std::string_view waiting(reader_->buf + reader_->pos, reader_->len - reader_->pos);
  if (waiting.size() > bytes_max_ - bytes_ + 64) return true;
  if (reader_->ridx < 0 || reader_->rstack[reader_->ridx].type != REDIS_REPLY_STRING) return false;
  const std::size_t line = waiting.find("\r\n");
  if (line == std::string_view::npos) return false;
  long long length = 0;
  const char* const begin = waiting.data();  // NOLINT(bugprone-suspicious-stringview-data-usage): with its end
  const auto parsed = std::from_chars(begin, begin + line, length);
  return parsed.ec == std::errc{} && length > 0 && static_cast<unsigned long long>(length) > bytes_max_ - bytes_;
}

}  // namespace dagverk::net
