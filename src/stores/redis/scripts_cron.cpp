#include "stores/redis/scripts_cron.hpp"

#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/cron_entry.hpp"

#include <chrono>
#include <string_view>

namespace dagverk::stores::redis {

namespace {

// Begins each of them. An entry is what it says in `dagverk:cron` (schedule, zone, class, queue, rule and origin, each
// with a line's end, then its arguments), `REVISION LAST_SLOT` in `dagverk:cron:at`, and, while it is paused, `SINCE
// BY_SIZE BYREASON` in `dagverk:cron:paused`. Revisions are drawn from `version` in `dagverk:cron:lead`.
constexpr std::string_view cron_prelude = R"lua(
local function advance() return int(redis.call('HINCRBY', 'dagverk:cron:lead', 'version', 1)) end
local function state_of(name)
  local state = redis.call('HGET', 'dagverk:cron:at', name)
  if not state or redis.call('HEXISTS', 'dagverk:cron', name) == 0 then return nil end
  return string.match(state, '^(%d+) (%-?%d+)$')
end
local function paused(name) return redis.call('HEXISTS', 'dagverk:cron:paused', name) == 1 end
local function file(name, last) redis.call('HSET', 'dagverk:cron:at', name, advance() .. ' ' .. last) end
)lua";

// Adds or changes an entry: 1 done, 0 it was just so. Arguments: name, what it says, last slot.
constexpr std::string_view put_text = R"lua(
local name, says, last = arg(), arg(), arg()
local old = redis.call('HGET', 'dagverk:cron', name)
if old == says then return 0 end
if not old and redis.call('HLEN', 'dagverk:cron') >= entry_limit then
  return redis.error_reply('REFUSED there are ' .. entry_limit .. ' cron entries already; remove one')
end
local _, seen = state_of(name)
local function slots(text) return string.match(text, '^([^\n]*\n[^\n]*)\n') end
if seen and (slots(old) == slots(says) or tonumber(seen) > tonumber(last)) then last = seen end
file(name, last)
redis.call('HSET', 'dagverk:cron', name, says)
return 1
)lua";

// 1 done, 0 there was none. Argument: name.
constexpr std::string_view remove_text = R"lua(
local name = arg()
if redis.call('HDEL', 'dagverk:cron', name) == 0 then return 0 end
redis.call('HDEL', 'dagverk:cron:at', name)
redis.call('HDEL', 'dagverk:cron:paused', name)
advance()
return 1
)lua";

// All of it, as of one moment: version; for each entry its name, what it says, its state, its pause.
constexpr std::string_view list_text = R"lua(
local answer = {redis.call('HGET', 'dagverk:cron:lead', 'version') or '0'}
for _, name in ipairs(redis.call('HKEYS', 'dagverk:cron')) do
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGET', 'dagverk:cron', name)
  answer[#answer + 1] = redis.call('HGET', 'dagverk:cron:at', name) or ''
  answer[#answer + 1] = redis.call('HGET', 'dagverk:cron:paused', name) or ''
end
return answer
)lua";

// 1 done, 0 it is paused already, -1 there is none. Arguments: name, by, reason.
constexpr std::string_view pause_text = R"lua(
local name, by, reason = arg(), arg(), arg()
local _, last = state_of(name)
if not last then return -1 end
if paused(name) then return 0 end
redis.call('HSET', 'dagverk:cron:paused', name, int(now) .. ' ' .. #by .. ' ' .. by .. reason)
file(name, last)
return 1
)lua";

// Ends a pause, and passes over what came meanwhile: 1 done, 0 it was not paused, -1 there is none. Argument: name.
constexpr std::string_view resume_text = R"lua(
local name = arg()
local _, last = state_of(name)
if not last then return -1 end
if redis.call('HDEL', 'dagverk:cron:paused', name) == 0 then return 0 end
if tonumber(last) < now then last = int(now) end
file(name, last)
return 1
)lua";

// Makes whoever asks the leader if nobody else is; a lease of zero ends being it. A lease of more than any is from
// before the clock was put back. Arguments: identity, lease in microseconds.
constexpr std::string_view lead_text = R"lua(
local identity, lease = arg(), tonumber(arg())
local key = 'dagverk:cron:lead'
local leader = redis.call('HGET', key, 'leader') or ''
local left = tonumber(redis.call('HGET', key, 'until') or '0') - now
local lives = leader ~= '' and left > 0 and left <= lead_limit
local ours = leader == identity
if not lives then leader = '' end
if ours or not lives then
  if lease == 0 then
    if ours then redis.call('HDEL', key, 'leader', 'until') end
    leader = ''
  else
    if not ours or not lives or left < lease * 2 / 3 then
      redis.call('HSET', key, 'leader', identity, 'until', int(now + lease))
    end
    leader = identity
  end
end
return {leader, redis.call('HGET', key, 'version') or '0', int(now)}
)lua";

// Enqueues the jobs of a slot and moves the entry's last slot there as one step, if the entry is as it was seen. First
// in the answer: 1 done, 0 it is not as it was, -1 there is none. Arguments: name, revision, slot, whether there are
// jobs, and if so those of enqueue.
constexpr std::string_view fire_text = R"lua(
local name, revision, slot, some = arg(), arg(), arg(), arg()
local seen, last = state_of(name)
if not seen then return {-1, '0'} end
if seen ~= revision or tonumber(slot) <= tonumber(last) or paused(name) then return {0, seen} end
if some == '1' then
  local outcomes = enqueue()
  if outcomes.err then return outcomes end
end
local version = advance()
redis.call('HSET', 'dagverk:cron:at', name, version .. ' ' .. slot)
return {1, version}
)lua";

net::RedisScript script(std::string_view text, bool may_drain, bool drains) {
  const auto lead_limit_us = std::chrono::duration_cast<std::chrono::microseconds>(jobs::cron_lead_limit).count();
  return changing_script(
      concat("local entry_limit, lead_limit = ", jobs::cron_entry_count_limit, ", ", lead_limit_us, cron_prelude, text),
      may_drain, drains);
}

}  // namespace

CronScripts::CronScripts(bool may_drain)
    : put(script(put_text, may_drain, false)),
      remove(script(remove_text, may_drain, true)),
      list(script(list_text, may_drain, true)),
      pause(script(pause_text, may_drain, true)),
      resume(script(resume_text, may_drain, true)),
      lead(script(lead_text, may_drain, true)),
      fire(script(concat("local function enqueue()\n", enqueue_source(), "end\n", fire_text), may_drain, false)) {}

}  // namespace dagverk::stores::redis
