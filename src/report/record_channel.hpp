#pragma once

#include "report/test_record.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace dagverk::detail {

/// The end of the stream of records that has not been sent yet, in memory that the test program shares with the
/// reporter: it is still there when the program is not.
///
/// Byte number `base` of the stream is data[0], and `length` bytes are sound. The program sends them, then sets length
/// to 0, then raises base: killed between any two of these steps, it leaves what the reporter can make sense of.
struct RecordTail {
  static constexpr std::size_t capacity = std::size_t{2} * 1024 * 1024;

  std::atomic<std::uint64_t> base{0};
  std::atomic<std::uint64_t> length{0};
  char data[capacity];

  /// What is left for a reporter that has received the first `received` bytes; once the program has ended.
  [[nodiscard]] std::string_view after(std::uint64_t received) const noexcept;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "it is shared by two processes");

/// Memory shared with the processes forked later.
class SharedTail {
 public:
  [[nodiscard]] static Result<SharedTail> make();
  SharedTail(SharedTail&& other) noexcept : tail_(std::exchange(other.tail_, nullptr)) {}
  SharedTail& operator=(SharedTail&&) = delete;
  ~SharedTail();
  [[nodiscard]] RecordTail& operator*() const noexcept { return *tail_; }
  [[nodiscard]] RecordTail* operator->() const noexcept { return tail_; }

 private:
  explicit SharedTail(RecordTail* tail) noexcept : tail_(tail) {}
  RecordTail* tail_;
};

/// A word that is 1 here and 0 in every process forked from here.
class OnlyHere {
 public:
  OnlyHere();
  OnlyHere(const OnlyHere&) = delete;
  OnlyHere& operator=(const OnlyHere&) = delete;
  ~OnlyHere();
  [[nodiscard]] bool here() const noexcept { return word_ != nullptr && *word_ != 0; }

 private:
  std::uint32_t* word_ = nullptr;
};

/// The test program's end of the stream.
class RecordWriter final : public TestRecorder {
 public:
  /// Owns `socket`, the stream to the reporter.
  RecordWriter(SharedTail tail, int socket) : tail_(std::move(tail)), socket_(socket) {}
  ~RecordWriter() override;

  void suite_started(std::string_view framework, std::uint64_t test_count) override;
  void case_started(std::string_view name) override;
  void test_started(std::string_view test_case, std::string_view name, std::string_view file,
                    std::uint32_t line) override;
  void failed(std::string_view file, std::uint32_t line, std::string_view message) override;
  void test_finished(TestState state, std::string_view reason) override;
  void test_excluded(std::string_view test_case, std::string_view name) override;
  void case_finished(std::string_view name) override;
  void suite_finished() override;

 private:
  void tell(TestRecord record, bool at_once = false);
  void send_tail() DAGVERK_REQUIRES(mutex_);

  SharedTail tail_;
  OnlyHere only_here_;
  int socket_;
  Mutex mutex_;
  std::int64_t sent_ns_ DAGVERK_GUARDED_BY(mutex_) = 0;
  bool reporter_gone_ DAGVERK_GUARDED_BY(mutex_) = false;
};

}  // namespace dagverk::detail
