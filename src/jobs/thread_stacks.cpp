#include "jobs/thread_stacks.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/demangle.hpp"
#include "dagverk/base/mutex.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <execinfo.h>
#include <memory>
#include <pthread.h>
#include <string_view>

namespace dagverk::jobs {

namespace {

enum class Answer : std::uint8_t { none, asked, written };

/// What a thread shares with whoever asks it.
struct Slot {
  pthread_t thread{};
  std::atomic<const void*> what{nullptr};
  std::atomic<Answer> answer{Answer::none};
  int count = 0;  // with frames: written before `answer` says so
  std::array<void*, stack_frames_limit> frames{};
};

// The process' one list of threads, since a signal handler and the kernel's threads belong to the process, too.
struct Board {
  Mutex mutex;
  std::vector<Slot*> slots DAGVERK_GUARDED_BY(mutex);
  bool ready DAGVERK_GUARDED_BY(mutex) = false;
};
Board& board() {
  static auto* const only = new Board;  // never destroyed: threads may end after main
  return *only;
}

/// Makes a thread known from its first job until its end.
class Membership {
 public:
  Membership() : slot_(std::make_unique<Slot>()) {
    slot_->thread = ::pthread_self();
    const MutexLock lock(board().mutex);
    board().slots.push_back(slot_.get());
  }
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  ~Membership() {
    const MutexLock lock(board().mutex);
    std::erase(board().slots, slot_.get());
  }
  [[nodiscard]] Slot& slot() noexcept { return *slot_; }

 private:
  std::unique_ptr<Slot> slot_;
};

// For the handler, which must not make one.
constinit thread_local Slot* slot_of_thread = nullptr;

extern "C" void write_stack_down(int /*signal*/) {
  Slot* const slot = slot_of_thread;
  if (slot == nullptr || slot->answer.load() != Answer::asked) return;
  const int before = errno;
  slot->count = ::backtrace(slot->frames.data(), stack_frames_limit);
  errno = before;
  slot->answer.store(Answer::written);
}

void install_handler() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);  // loads what it needs now, not inside the handler
  struct sigaction action{};
  action.sa_handler = write_stack_down;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGURG, &action, nullptr);
}

/// `program(_ZN3fooEv+0x12) [0x55…]` with its name readable.
std::string readable_frame(std::string_view symbol) {
  const std::size_t open = symbol.find('(');
  const std::size_t plus = symbol.find('+', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || plus == std::string_view::npos || plus <= open + 1) return std::string(symbol);
  const std::string mangled(symbol.substr(open + 1, plus - open - 1));
  return concat(symbol.substr(0, open + 1), demangle(mangled.c_str()), symbol.substr(plus));
}

}  // namespace

OnThread::OnThread(const void* what) noexcept {
  static thread_local Membership membership;
  slot_of_thread = &membership.slot();
  slot_of_thread->answer.store(Answer::none);
  slot_of_thread->what.store(what);
}

OnThread::~OnThread() {
  slot_of_thread->what.store(nullptr);
  slot_of_thread->answer.store(Answer::none);
}

void ask_for_stacks(const std::vector<const void*>& what) {
  const MutexLock lock(board().mutex);
  if (!board().ready) install_handler();
  board().ready = true;
  for (Slot* const slot : board().slots) {
    const void* const doing = slot->what.load();
    if (doing == nullptr || std::ranges::find(what, doing) == what.end()) continue;
    slot->answer.store(Answer::asked);
    ::pthread_kill(slot->thread, SIGURG);
  }
}

std::vector<std::string> stack_of(const void* what) {
  std::array<void*, stack_frames_limit> frames{};
  int count = 0;
  {
    const MutexLock lock(board().mutex);
    const auto found = std::ranges::find_if(board().slots, [what](const Slot* slot) { return slot->what == what; });
    if (found == board().slots.end() || (*found)->answer.load() != Answer::written) return {};
    frames = (*found)->frames;
    count = (*found)->count;
  }
  char** const symbols = ::backtrace_symbols(frames.data(), count);
  if (symbols == nullptr) return {};
  std::vector<std::string> lines;
  lines.reserve(static_cast<std::size_t>(count));
  for (int index = 0; index < count; ++index) lines.push_back(readable_frame(symbols[index]));
  std::free(static_cast<void*>(symbols));  // NOLINT(cppcoreguidelines-no-malloc): backtrace_symbols allocates so
  // The handler itself, and how the kernel called it.
  constexpr std::ptrdiff_t own_frames = 2;
  lines.erase(lines.begin(), lines.begin() + std::min<std::ptrdiff_t>(own_frames, std::ssize(lines)));
  return lines;
}

}  // namespace dagverk::jobs
