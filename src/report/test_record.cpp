#include "report/test_record.hpp"

#include <cstring>

namespace dagverk::detail {
namespace {

/// In front of the three texts. Both ends are the same program, so its layout is no question.
struct Head {
  std::uint32_t size;  // of all
  RecordKind kind;
  TestState state;
  std::uint32_t a_size;
  std::uint32_t b_size;
  std::int64_t steady_ns;
  std::uint64_t number;
};
static_assert(sizeof(Head) == record_size_min);

constexpr std::size_t record_size_max = std::size_t{1} << 26U;

}  // namespace

std::size_t encoded_size(const TestRecord& record) noexcept {
  return sizeof(Head) + record.a.size() + record.b.size() + record.c.size();
}

void encode(const TestRecord& record, char* to) noexcept {
  Head head;
  std::memset(&head, 0, sizeof head);
  head.size = static_cast<std::uint32_t>(encoded_size(record));
  head.kind = record.kind;
  head.state = record.state;
  head.a_size = static_cast<std::uint32_t>(record.a.size());
  head.b_size = static_cast<std::uint32_t>(record.b.size());
  head.steady_ns = record.steady_ns;
  head.number = record.number;
  std::memcpy(to, &head, sizeof head);
  to += sizeof head;
  for (const std::string_view text : {record.a, record.b, record.c}) {
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    to += text.size();
  }
}

std::optional<TestRecord> RecordReader::next() {
  const std::string_view rest = std::string_view(bytes_).substr(position_);
  if (broken_ || rest.size() < sizeof(Head)) {
    bytes_.erase(0, position_);
    position_ = 0;
    return std::nullopt;
  }
  Head head;
  std::memcpy(&head, rest.data(), sizeof head);
  if (head.size < sizeof head || head.size > record_size_max || head.kind > RecordKind::suite_finished ||
      head.state > TestState::crashed ||
      sizeof head + std::size_t{head.a_size} + std::size_t{head.b_size} > std::size_t{head.size}) {
    broken_ = true;
    return std::nullopt;
  }
  if (rest.size() < head.size) {
    bytes_.erase(0, position_);
    position_ = 0;
    return std::nullopt;
  }
  position_ += head.size;
  const std::string_view texts = rest.substr(sizeof head, head.size - sizeof head);
  return TestRecord{.kind = head.kind,
                    .state = head.state,
                    .steady_ns = head.steady_ns,
                    .number = head.number,
                    .a = texts.substr(0, head.a_size),
                    .b = texts.substr(head.a_size, head.b_size),
                    .c = texts.substr(std::size_t{head.a_size} + head.b_size)};
}

}  // namespace dagverk::detail
