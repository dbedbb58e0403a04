#include "stores/redis/scripts_records.hpp"

#include "dagverk/base/never_destroyed.hpp"

namespace dagverk::stores::redis {

namespace {

// Keeps records, each under its own key: 1 done, 0 a later execution has said something. The execution stands before
// the record. Keys; arguments: seconds until they are forgotten, and for each key its execution and record.
constexpr std::string_view keep_records_text = R"lua(
local outcomes = {}
for index, key in ipairs(KEYS) do
  local execution, record = ARGV[2 * index], ARGV[2 * index + 1]
  local old = string.match(redis.call('GETRANGE', key, 0, 31), '^(%d+) ')
  if old and tonumber(old) > tonumber(execution) then
    outcomes[index] = 0
  else
    redis.call('SET', key, execution .. ' ' .. record, 'EX', ARGV[1])
    outcomes[index] = 1
  end
end
return outcomes
)lua";

}  // namespace

const net::RedisScript& keep_records_script() {
  static NeverDestroyed<const net::RedisScript> script{std::string(keep_records_text)};  // used during exit(), too
  return *script;
}

}  // namespace dagverk::stores::redis
