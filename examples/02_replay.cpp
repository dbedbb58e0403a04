// A test under many seeds: two clients deposit into one account, which is killed at a random moment. What got lost?

#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/testing/seeds.hpp"

#include <iostream>

using namespace dagverk;

class Account : public GenServer<Account> {
 public:
  struct Deposit {
    using Reply = int;
    int amount;
  };
  int handle_call(Deposit deposit) { return balance_ += deposit.amount; }

 private:
  int balance_ = 0;
};

void deposit_twice(dagverk::testing::Scenario& scenario) {
  DeterministicRuntime& runtime = scenario.runtime();
  start_supervisor(runtime, {}, {child_spec_with<Account>({.registered = true}, "account")}).value();
  const Name<Account> account(runtime, "account");
  scenario.kill_at_step(scenario.random().below(20), "account");
  int balance = 0;
  for (int client = 0; client < 2; ++client) {
    balance = account.call_blocking<Account::Deposit>(10).value_or(balance);
  }
  scenario.expect(balance == 20, "both deposits are in the account");
}

int main() {
  const auto report = dagverk::testing::for_each_seed({.count = 50, .failures_max = 1}, deposit_twice);
  std::cout << (report.ok() ? "no seed fails\n" : "a seed fails: the state was lost with the process\n");
  std::cerr << report.text();  // with the command that replays it
}
