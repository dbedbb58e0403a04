#pragma once

// A random supervision tree, and the rules that must hold in it whatever happens.

#include "simulation/may_fail.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/dynamic_supervisor.hpp"
#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/testing/scenario.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::simulation {

/// Known faults, planted to show that the rules see them.
enum class Fault : std::uint8_t {
  none,
  lost_down,
  second_down,
  lost_exit,
  swapped_messages,
  leak,
  forward_stop,
  orphan
};

/// What the members of the tree have seen, and the rules that can be checked from it.
class Book {
 public:
  struct Pair {
    std::uint64_t from;
    std::uint64_t to;
    auto operator<=>(const Pair&) const = default;
  };
  struct Watch {
    Pid by;
    Pid of;
  };

  Book(testing::Scenario& scenario_of_book, Fault planted) : scenario(scenario_of_book), fault(planted) {}

  void broken(std::string_view rule) { scenario.fail(rule); }

  // --- what members report ---
  void started(std::size_t home) {
    ++living;
    last_stopped.erase(home);
  }
  void stopped(std::size_t home, std::uint64_t place) {
    const auto last = last_stopped.find(home);
    if (last != last_stopped.end() && place > last->second)
      broken(concat("order: child ", place, " of supervisor ", home, " was stopped after child ", last->second));
    last_stopped[home] = place;
  }
  void down(const Down& down) {
    const auto watch = watches.find(down.ref.id);
    if (watch == watches.end()) return broken("monitor: a Down that nobody waits for, or a second one");
    if (watch->second.of != down.pid) broken("monitor: the Down of another process");
    if (RuntimeBase::alive(down.pid)) broken("monitor: the Down of a living process");
    watches.erase(watch);
  }
  void received(std::uint64_t from, std::uint64_t to, std::uint64_t number) {
    std::uint64_t& next = next_number[Pair{from, to}];
    if (number != next) broken(concat("messages: number ", number, " came instead of ", next));
    next = number + 1;
  }
  void exit_seen(Pid from, Pid by) {
    if (!exits.insert(Pair{from.number(), by.number()}).second) broken("link: a second exit signal of one link");
  }

  testing::Scenario& scenario;
  Fault fault;
  bool closed = false;     // the world is over, what members see counts no more
  std::size_t living = 0;  // members whose state exists
  std::size_t downs = 0;
  std::map<std::size_t, std::uint64_t> last_stopped;  // supervisor -> the place of the child stopped last
  std::map<std::uint64_t, Watch> watches;             // by MonitorRef::id: those that have not fired
  std::map<Pair, std::uint64_t> next_number;
  std::map<Pair, std::uint64_t> next_to_send;
  std::set<Pair> exits;  // from whom, seen by whom
  std::vector<std::pair<Pid, Pid>> links;
  std::set<std::uint64_t> attacked;    // pids that were killed or made to throw
  std::set<std::uint64_t> by_request;  // places of children that were stopped by terminate_child
};

/// A member: writes into the book what happens to it, and does what it is told.
class Leaf : public GenServer<Leaf> {
 public:
  struct Crash {};
  struct End {
    ExitReason reason;
  };
  struct LinkTo {
    Pid other;
  };
  struct WatchIt {
    Pid other;
  };
  struct TakeName {
    std::string name;
  };
  struct SendTo {
    ServerRef<Leaf> other;
    int count;
  };
  struct Numbered {
    std::uint64_t from;
    std::uint64_t number;
  };
  struct Home {
    std::size_t supervisor;
    std::uint64_t place;
    bool ordered;
  };

  Leaf(std::shared_ptr<Book> book, Home home) : book_(std::move(book)), home_(home) {}
  Leaf(const Leaf&) = delete;
  Leaf& operator=(const Leaf&) = delete;
  ~Leaf() override {
    if (!counted_ || book_->closed || book_->fault == Fault::leak) return;
    --book_->living;
    const bool by_supervisor =
        !by_itself_ && !book_->attacked.contains(pid_.number()) && (!ended_ || *ended_ == ExitReason::shutdown);
    if (home_.ordered && by_supervisor && !book_->by_request.contains(home_.place)) {
      book_->stopped(home_.supervisor, home_.place);
    }
  }

  void init() {
    this_process::trap_exits();
    pid_ = this_process::pid();
    counted_ = true;
    book_->started(home_.supervisor);
  }
  void handle_cast(Crash /*crash*/) {
    by_itself_ = true;
    throw std::runtime_error("crash");
  }
  void handle_cast(End end) {
    by_itself_ = true;
    stop(std::move(end.reason));
  }
  void handle_cast(LinkTo link) {
    if (link.other == pid_) return;
    book_->links.emplace_back(pid_, link.other);
    this_process::link(link.other);
  }
  void handle_cast(WatchIt watch) {
    const MonitorRef ref = this_process::monitor(watch.other);
    book_->watches.emplace(ref.id, Book::Watch{.by = pid_, .of = watch.other});
  }
  void handle_cast(TakeName take) { may_fail(this_process::register_name(std::move(take.name))); }
  void handle_cast(SendTo send) {
    const bool swap = book_->fault == Fault::swapped_messages && send.count > 1;
    std::uint64_t& next = book_->next_to_send[{pid_.number(), send.other.pid().number()}];
    const std::uint64_t first = next;
    next += static_cast<std::uint64_t>(send.count);
    for (std::uint64_t number = first; number < next; ++number) {
      const std::uint64_t told = swap && number < first + 2 ? 2 * first + 1 - number : number;
      send.other.cast(Numbered{.from = pid_.number(), .number = told});
    }
  }
  void handle_cast(Numbered numbered) { book_->received(numbered.from, pid_.number(), numbered.number); }
  void handle_info(Down down) {
    ++book_->downs;
    if (book_->fault == Fault::lost_down) return;
    book_->down(down);
    if (book_->fault == Fault::second_down) book_->down(down);
  }
  void handle_info(Exit exit) {
    if (book_->fault != Fault::lost_exit) book_->exit_seen(exit.from, pid_);
  }
  void terminate(const ExitReason& reason) { ended_ = reason; }

 private:
  std::shared_ptr<Book> book_;  // with the world; ends with the last member
  Home home_;
  Pid pid_;
  std::optional<ExitReason> ended_;
  bool by_itself_ = false;
  bool counted_ = false;
};

/// A mutant: starts children as a supervisor does, and stops them in the wrong order, or not at all.
class CarelessSupervisor : public GenServer<CarelessSupervisor> {
 public:
  CarelessSupervisor(std::vector<ChildSpec> specs, bool stops) : specs_(std::move(specs)), stops_(stops) {}
  Async<void> init() {
    this_process::trap_exits();
    for (ChildSpec& spec : specs_) {
      StartOptions options;
      options.parent = this_process::pid();
      Result<Pid> child = co_await spec.start(std::move(options));
      children_.push_back(child.value());
    }
  }
  void handle_info(const Exit& /*exit*/) {}
  Async<void> terminate(const ExitReason& /*reason*/) {
    for (const Pid child : children_) {
      if (stops_) {
        this_process::exit(child, ExitReason::shutdown);
        static_cast<void>(co_await this_process::wait_for_exit(child, std::chrono::seconds(1)));
      } else {
        this_process::unlink(child);
      }
    }
  }

 private:
  std::vector<ChildSpec> specs_;
  std::vector<Pid> children_;
  bool stops_;
};

}  // namespace dagverk::simulation
