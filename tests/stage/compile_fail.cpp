// What must not compile between stages; see tests/runtime/compile_fail.cpp.

#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <cstddef>
#include <string>

namespace shop {

class Words : public dagverk::Producer<Words, std::string> {
 public:
  static void handle_demand(std::size_t /*count*/) {}
};
class Numbers : public dagverk::Producer<Numbers, int> {
 public:
  static void handle_demand(std::size_t /*count*/) {}
};
class Adder : public dagverk::Consumer<Adder, int> {
 public:
  static void handle_events(const dagverk::Batch<int>& /*events*/) {}
};

#if defined(CASE_MODE)
class Odd : public dagverk::Consumer<Odd, int> {
 public:
  static int handle_subscribe(const dagverk::SubscriptionInfo& /*info*/) { return 3; }
  static void handle_events(const dagverk::Batch<int>& /*events*/) {}
};
void use_odd(const dagverk::ServerRef<Odd>& odd, const dagverk::ServerRef<Numbers>& numbers) {
  static_cast<void>(dagverk::subscribe_blocking(odd, numbers));
}
#endif
#if defined(CASE_SIZE)
const dagverk::ProducerOptions less_than_none{.buffer_size = -1};
#endif

void use(const dagverk::ServerRef<Adder>& adder, const dagverk::ServerRef<Numbers>& numbers,
         const dagverk::ServerRef<Words>& words) {
  static_cast<void>(dagverk::subscribe_blocking(adder, numbers));
#if defined(CASE_TYPES)
  static_cast<void>(dagverk::subscribe_blocking(adder, words));
#endif
  static_cast<void>(words);
}

}  // namespace shop
