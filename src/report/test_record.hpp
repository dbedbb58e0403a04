#pragma once

#include "dagverk/report/test_event.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::detail {

enum class RecordKind : std::uint8_t {
  suite_started,   ///< a framework; number: tests
  case_started,    ///< a name
  test_started,    ///< a case, b name, c file; number: line
  failed,          ///< a file, b message; number: line
  test_finished,   ///< state; a reason
  test_excluded,   ///< a case, b name
  case_finished,   ///< a name
  suite_finished,  ///< nothing
};

/// One thing that a test program told, as it travels to the reporter. The texts are the sender's or the buffer's.
struct TestRecord {
  RecordKind kind = RecordKind::suite_started;
  TestState state = TestState::passed;
  std::int64_t steady_ns = 0;
  std::uint64_t number = 0;
  std::string_view a = {};
  std::string_view b = {};
  std::string_view c = {};
};

inline constexpr std::size_t record_size_min = 32;
[[nodiscard]] std::size_t encoded_size(const TestRecord& record) noexcept;
/// Writes `encoded_size` bytes.
void encode(const TestRecord& record, char* to) noexcept;

/// Takes a stream of bytes apart. After the first bytes that are no record, `broken`, and no more records come.
class RecordReader {
 public:
  void add(std::string_view bytes) { bytes_ += bytes; }
  /// The next whole record; its texts are valid until `add` or `next`.
  [[nodiscard]] std::optional<TestRecord> next();
  [[nodiscard]] bool broken() const noexcept { return broken_; }

 private:
  std::string bytes_;
  std::size_t position_ = 0;
  bool broken_ = false;
};

}  // namespace dagverk::detail
