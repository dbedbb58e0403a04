#include "worker/limit_keeper.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/limit_words.hpp"

#include <utility>

namespace dagverk::worker {

Result<std::vector<std::string>> LimitKeeper::put(const Configuration& configuration) {
  std::vector<std::string> changed;
  for (const LimitSettings& settings : configuration.limits) {
    std::string key = concat("limits.", limit_word(settings.limit));
    jobs::Limit limit = settings.limit;
    const Result<bool> put = runtime_.run(store_.put_limit(std::move(limit)));
    if (!put) return put.error().with(concat(settings.place, ": ", key));
    if (*put) changed.push_back(std::move(key));
  }
  return changed;
}

}  // namespace dagverk::worker
