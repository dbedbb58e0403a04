#include "fuzz_targets.hpp"
#include "net/redis_reader.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace dagverk::fuzz {

namespace {

constexpr std::size_t bytes_max = 4096;
constexpr std::size_t items_max = 256;

struct Size {
  std::size_t bytes = 0;
  std::size_t items = 0;
};

Size size_of(const net::RedisReply& reply) {  // NOLINT(misc-no-recursion): seven deep at most
  Size size{.bytes = reply.text().size(), .items = reply.items().size()};
  for (const net::RedisReply& item : reply.items()) {
    const Size inner = size_of(item);
    size.bytes += inner.bytes;
    size.items += inner.items;
  }
  return size;
}

/// All replies of `bytes` that come in pieces of that size; the last one may be an error of the reader.
std::vector<std::string> read_all(std::string_view bytes, std::size_t piece) {
  net::RedisReader reader(bytes_max, items_max);
  std::vector<std::string> seen;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    reader.feed(bytes.substr(0, piece));
    for (;;) {
      Result<std::optional<net::RedisReply>> reply = reader.next();
      if (!reply) {
        const ErrorCode code = reply.error().code();
        DAGVERK_ASSERT(code == ErrorCode::too_large || code == ErrorCode::malformed);
        seen.emplace_back(to_string(code));
        return seen;
      }
      if (!*reply) break;
      const Size size = size_of(**reply);
      DAGVERK_ASSERT(size.bytes <= bytes_max && size.items <= items_max);
      seen.push_back((*reply)->shown());
      static_cast<void>((*reply)->as_integer().has_value());
      static_cast<void>((*reply)->as_array().has_value());
      if ((*reply)->is_error()) static_cast<void>(net::redis_error((*reply)->text()).message());
    }
  }
  return seen;
}

}  // namespace

void redis_reply(std::string_view bytes) {
  if (bytes.empty()) return;
  const std::size_t piece = 1 + static_cast<unsigned char>(bytes.front());
  bytes.remove_prefix(1);
  const std::vector<std::string> whole = read_all(bytes, 16'384);
  const std::vector<std::string> pieces = read_all(bytes, piece);
  // A long line without an end is refused as soon as it is too long, in small pieces earlier than in one.
  if (whole != pieces) {
    DAGVERK_ASSERT(!pieces.empty() && pieces.back() == to_string(ErrorCode::too_large));
    DAGVERK_ASSERT(pieces.size() <= whole.size() + 1);
    DAGVERK_ASSERT(std::equal(pieces.begin(), pieces.end() - 1, whole.begin()));
  }
}

}  // namespace dagverk::fuzz
