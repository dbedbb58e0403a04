#pragma once

#include "conformance/store_world.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::conformance {

/// A random story of jobs with unique keys, of nodes that take them and die, and of answers that are lost, with an
/// account of its own of who must hold which key. Every answer of the store is compared with it, so that a key with two
/// holders fails the test, and so does one that nobody holds and nobody gets.
class UniqueStory {
 public:
  UniqueStory(StoreWorld& world, std::uint64_t seed) : world_(world), random_(seed), caller_(world.open()) {
    for (Node& node : nodes_) revive(node);
  }

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      switch (random_.below(10)) {
        case 0:
        case 1:
        case 2: enqueue(); break;
        case 3:
        case 4: take(); break;
        case 5:
        case 6: settle(); break;
        case 7: wish(); break;
        case 8: pass(random_.below(4) == 0 ? std::chrono::seconds(20) : std::chrono::seconds(3)); break;
        default: crash_or_rescue(); break;
      }
    }
    if (!testing::Test::HasFailure()) end();
  }

 private:
  enum class State : std::uint8_t { waits, runs, dead };
  struct Node {
    std::unique_ptr<StoreSession> session = nullptr;
    jobs::NodeEpoch epoch = 0;
    std::vector<std::pair<std::string, jobs::ClaimToken>> hands = {};
  };
  struct Holder {
    std::string jid;
    jobs::LockUntil until = jobs::LockUntil::done;
    WallTime expires_at;
  };

  void revive(Node& node) {
    node.hands.clear();
    node.session = world_.open();
    node.epoch = node.session->register_node({"node", "{}"}).value_or(0);
  }

  /// Who must hold the key now.
  Holder* holder_of(const std::string& key) {
    const auto found = holders_.find(key);
    return found != holders_.end() && found->second.expires_at > world_.now() ? &found->second : nullptr;
  }
  void frees(const std::string& jid, jobs::LockUntil longest) {
    std::erase_if(holders_, [&](const auto& held) { return held.second.jid == jid && held.second.until <= longest; });
  }
  void leaves(const std::string& jid, jobs::LockUntil longest) {
    states_.erase(jid);
    frees(jid, longest);
  }

  void enqueue() {
    using jobs::LockConflict;
    constexpr std::array<std::chrono::seconds, 3> expiries{std::chrono::seconds(5), std::chrono::seconds(60),
                                                           std::chrono::seconds(3600)};
    jobs::EnqueueRequest request;
    request.jid = concat("j", ++last_);
    request.queue = "default";
    request.class_name = "Work";
    request.payload = concat(R"({"jid":")", request.jid, R"("})");
    request.journaled = random_.below(2) == 0;
    request.unique = {.key = concat("key", random_.below(3)),
                      .until = static_cast<jobs::LockUntil>(random_.below(3)),
                      .expiry = expiries[random_.below(3)],
                      .conflict = static_cast<LockConflict>(random_.below(3))};
    if (random_.below(3) == 0) request.due = world_.now() + std::chrono::seconds(5);
    const jobs::UniqueLock& lock = *request.unique;

    jobs::ItemOutcome expected = jobs::ItemOutcome::done;
    if (Holder* const holder = holder_of(lock.key)) {
      const auto state = states_.find(holder->jid);
      const bool waits = state != states_.end() && state->second == State::waits;
      if (!waits || lock.conflict == LockConflict::refuse) {
        expected = jobs::ItemOutcome::locked;
      } else if (lock.conflict == LockConflict::reschedule) {
        expected = jobs::ItemOutcome::rescheduled;
      } else {
        leaves(std::string(holder->jid), jobs::LockUntil::period);
      }
    }
    if (expected == jobs::ItemOutcome::done) {
      states_[request.jid] = State::waits;
      holders_[lock.key] = {request.jid, lock.until, world_.now() + lock.expiry};
    }
    const auto first = caller_->enqueue({request});
    ASSERT_TRUE(first) << first.error().message();
    ASSERT_EQ(first->front(), expected) << request.jid << " wants " << lock.key;
    if (random_.below(4) != 0) return;
    // As after an answer that was lost.
    const auto again = caller_->enqueue({request});
    ASSERT_TRUE(again) << again.error().message();
    if (expected == jobs::ItemOutcome::done) expected = jobs::ItemOutcome::duplicate;
    ASSERT_EQ(again->front(), expected) << request.jid << " asks for " << lock.key << " again";
  }

  void take() {
    Node& node = nodes_[random_.below(nodes_.size())];
    auto taken = node.session->take({node.epoch, {"default"}, 1 + random_.below(3)});
    ASSERT_TRUE(taken) << taken.error().message();
    for (jobs::TakenJob& job : *taken) {
      ASSERT_EQ(states_.at(job.jid), State::waits);
      states_[job.jid] = State::runs;
      frees(job.jid, jobs::LockUntil::started);
      node.hands.emplace_back(std::move(job.jid), job.token);
    }
  }

  void settle() {
    Node& node = nodes_[random_.below(nodes_.size())];
    if (node.hands.empty()) return;
    const auto [jid, token] = std::move(node.hands.back());
    node.hands.pop_back();
    jobs::Settlement settlement = jobs::Settlement::finish(token);
    switch (random_.below(5)) {
      case 0: settlement = jobs::Settlement::bury(token, std::nullopt, "why"); break;
      case 1: settlement = jobs::Settlement::requeue(token); break;
      case 2: settlement = jobs::Settlement::discard(token, {}, jobs::JournalKind::cancelled); break;
      case 3:
        settlement = jobs::Settlement::retry(token, concat(R"({"jid":")", jid, R"(","n":1})"),
                                             world_.now() + std::chrono::seconds(5));
        break;
      default: break;
    }
    const auto action = settlement.action;
    const auto outcomes = node.session->settle({std::move(settlement)});
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    ASSERT_EQ(outcomes->front(), jobs::ItemOutcome::done);
    using Action = jobs::Settlement::Action;
    switch (action) {
      case Action::finish: return leaves(jid, jobs::LockUntil::done);
      case Action::discard: return leaves(jid, jobs::LockUntil::period);
      case Action::bury: states_[jid] = State::dead; return frees(jid, jobs::LockUntil::done);
      case Action::requeue:
      case Action::retry: states_[jid] = State::waits; return;
    }
  }

  /// What people do.
  void wish() {
    if (states_.empty()) return;
    auto at = states_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_.below(states_.size())));
    const auto [jid, state] = *at;
    switch (random_.below(3)) {
      case 0:
        ASSERT_TRUE(caller_->remove({jid}));
        if (state != State::runs) leaves(jid, jobs::LockUntil::period);
        return;
      case 1:
        ASSERT_TRUE(caller_->cancel({jid}));
        if (state == State::waits) leaves(jid, jobs::LockUntil::period);
        return;
      default:
        ASSERT_TRUE(caller_->retry_now({{jid, std::nullopt, {}}}));
        if (state == State::dead) states_[jid] = State::waits;
        return;
    }
  }

  void pass(std::chrono::seconds time) {
    for (; time > std::chrono::seconds(0); time -= std::chrono::seconds(3)) {
      world_.advance(std::chrono::seconds(3));
      for (Node& node : nodes_) ASSERT_TRUE(node.session->renew_lease(node.epoch));
    }
    const auto due = caller_->peek_due(world_.now(), 100);
    ASSERT_TRUE(due);
    for (const jobs::DueJob& job : due->jobs) {
      ASSERT_TRUE(caller_->promote({{job.handle, concat(R"({"jid":")", job.jid, R"(","now":1})"), {}}}));
    }
  }

  void crash_or_rescue() {
    if (random_.below(2) == 0) {
      revive(nodes_[random_.below(nodes_.size())]);  // its session ends without a word
      return;
    }
    rescue();
  }
  void rescue() {
    const auto report = caller_->rescue_dead_nodes(0, 100);
    ASSERT_TRUE(report) << report.error().message();
    for (const jobs::RescuedJob& job : report->jobs) {
      states_[job.jid] = job.quarantined ? State::dead : State::waits;
      if (job.quarantined) frees(job.jid, jobs::LockUntil::done);
    }
  }

  /// All nodes die; their jobs end elsewhere. Then nothing is held but for a period, and in the end nothing.
  void end() {
    for (Node& node : nodes_) revive(node);
    for (int lease = 0; lease < 4 && !testing::Test::HasFailure(); ++lease) pass(std::chrono::seconds(6));
    rescue();
    Node& last = nodes_.front();
    while (!testing::Test::HasFailure()) {
      pass(std::chrono::seconds(6));
      auto taken = last.session->take({last.epoch, {"default"}, 100});
      ASSERT_TRUE(taken) << taken.error().message();
      if (taken->empty()) break;
      for (const jobs::TakenJob& job : *taken) {
        ASSERT_TRUE(last.session->settle({jobs::Settlement::finish(job.token)}));
        leaves(job.jid, jobs::LockUntil::done);
      }
    }
    for (const auto& [jid, state] : states_) ASSERT_EQ(state, State::dead) << jid;
    const auto page = caller_->list_locks();
    ASSERT_TRUE(page) << page.error().message();
    for (const jobs::HeldLock& lock : page->locks) {
      EXPECT_EQ(lock.until, jobs::LockUntil::period) << lock.key << " of " << lock.jid << " is nobody's";
      const Holder* const holder = holder_of(lock.key);
      ASSERT_NE(holder, nullptr) << lock.key;
      EXPECT_EQ(lock.jid, holder->jid);
    }
    world_.advance(std::chrono::hours(1));
    EXPECT_TRUE(caller_->list_locks()->locks.empty());
  }

  StoreWorld& world_;
  Random random_;
  std::unique_ptr<StoreSession> caller_;
  std::array<Node, 2> nodes_;
  std::map<std::string, State> states_;
  std::map<std::string, Holder> holders_;
  int last_ = 0;
};

}  // namespace dagverk::conformance
