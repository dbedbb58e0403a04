#include "report/record_channel.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dagverk::detail {
namespace {

constexpr std::size_t message_max = std::size_t{1024} * 1024;
constexpr std::size_t name_max = std::size_t{64} * 1024;
constexpr std::size_t send_from = std::size_t{64} * 1024;
constexpr std::int64_t send_every_ns = 10'000'000;  // so that a console lives; a system call per test would cost more

static_assert(RecordTail::capacity > send_from + message_max + 4 * name_max,
              "whatever is told has room once all is sent");

}  // namespace

std::string_view RecordTail::after(std::uint64_t received) const noexcept {
  const std::uint64_t first = base.load();
  const std::uint64_t sound = length.load();
  if (received < first || received - first >= sound) return {};
  return std::string_view(data, sound).substr(received - first);
}

Result<SharedTail> SharedTail::make() {
  void* memory = ::mmap(nullptr, sizeof(RecordTail), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error{ErrorCode::io, concat("no shared memory: ", std::strerror(errno))};
  return SharedTail(::new (memory) RecordTail);
}

SharedTail::~SharedTail() {
  if (tail_ != nullptr) ::munmap(tail_, sizeof(RecordTail));
}

OnlyHere::OnlyHere() {
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  ::madvise(memory, 4096, MADV_WIPEONFORK);
  word_ = ::new (memory) std::uint32_t(1);
}

OnlyHere::~OnlyHere() {
  if (word_ != nullptr) ::munmap(word_, 4096);
}

RecordWriter::~RecordWriter() { ::close(socket_); }

void RecordWriter::send_tail() {
  std::string_view rest(tail_->data, tail_->length.load());
  const std::uint64_t size = rest.size();
  while (!rest.empty() && !reporter_gone_) {
    const ssize_t sent = ::send(socket_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      reporter_gone_ = true;
    } else {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  tail_->length.store(0);
  tail_->base.store(tail_->base.load() + size);
}

void RecordWriter::tell(TestRecord record, bool at_once) {
  if (!only_here_.here()) return;
  record.steady_ns = system_clock().steady_now().time_since_epoch().count();
  const std::size_t size = encoded_size(record);
  const MutexLock lock(mutex_);
  const std::uint64_t length = tail_->length.load();
  encode(record, tail_->data + length);
  // Release publishes the record to the reporter, which reads the length first.
  tail_->length.store(length + size, std::memory_order_release);
  if (at_once || length + size >= send_from || record.steady_ns - sent_ns_ >= send_every_ns) {
    sent_ns_ = record.steady_ns;
    send_tail();
  }
}

void RecordWriter::suite_started(std::string_view framework, std::uint64_t test_count) {
  tell({.kind = RecordKind::suite_started, .number = test_count, .a = framework.substr(0, name_max)}, true);
}

void RecordWriter::case_started(std::string_view name) {
  tell({.kind = RecordKind::case_started, .a = name.substr(0, name_max)});
}

void RecordWriter::test_started(std::string_view test_case, std::string_view name, std::string_view file,
                                std::uint32_t line) {
  tell({.kind = RecordKind::test_started,
        .number = line,
        .a = test_case.substr(0, name_max),
        .b = name.substr(0, name_max),
        .c = file.substr(0, name_max)});
}

void RecordWriter::failed(std::string_view file, std::uint32_t line, std::string_view message) {
  std::string cut;
  if (message.size() > message_max) {
    const std::string mark = concat("\n[", message.size(), " bytes, cut]");
    cut = concat(message.substr(0, message_max - mark.size()), mark);
    message = cut;
  }
  tell({.kind = RecordKind::failed, .number = line, .a = file.substr(0, name_max), .b = message}, true);
}

void RecordWriter::test_finished(TestState state, std::string_view reason) {
  tell({.kind = RecordKind::test_finished, .state = state, .a = reason.substr(0, name_max)});
}

void RecordWriter::test_excluded(std::string_view test_case, std::string_view name) {
  tell({.kind = RecordKind::test_excluded, .a = test_case.substr(0, name_max), .b = name.substr(0, name_max)});
}

void RecordWriter::case_finished(std::string_view name) {
  tell({.kind = RecordKind::case_finished, .a = name.substr(0, name_max)});
}

void RecordWriter::suite_finished() { tell({.kind = RecordKind::suite_finished}, true); }

}  // namespace dagverk::detail
