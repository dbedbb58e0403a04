// What changes and lists limits.

#include "stores/redis/scripts_limits.hpp"

#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"

#include <string_view>

namespace dagverk::stores::redis {

namespace {

// The bound of a queue is `MOST RULE` or `MOST v QUEUE` in `dagverk:bounds`, under its name (RULE: r refuse, d drop, v
// divert); `bounds` in `dagverk:total` is there while there are any, so that who enqueues knows without asking.
constexpr std::string_view bounds_text = R"lua(
local function target_of(bound) return string.match(bound or '', '^%d+ v (.*)$') end
local function chain_of(queue, bound)
  local to = target_of(bound)
  if not to then return nil end
  local onwards = target_of(redis.call('HGET', 'dagverk:bounds', to))
  if onwards then return {queue, to, onwards} end
  local all = redis.call('HGETALL', 'dagverk:bounds')
  for index = 1, #all, 2 do
    if target_of(all[index + 1]) == queue then return {all[index], queue, to} end
  end
end
local function set_bound(queue, bound)
  if bound == '' then redis.call('HDEL', 'dagverk:bounds', queue) else redis.call('HSET', 'dagverk:bounds', queue, bound) end
  if redis.call('EXISTS', 'dagverk:bounds') == 1 then
    redis.call('HSET', 'dagverk:total', 'bounds', '1')
  else
    redis.call('HDEL', 'dagverk:total', 'bounds')
  end
end
)lua";

// What waits is to be looked at again, by everybody; of a key limit, what it holds back is due now.
constexpr std::string_view changed_text = R"lua(
local function next_epoch() return int(redis.call('HINCRBY', 'dagverk:total', 'limit_epoch', 1)) end
local function changed(id)
  redis.call('HINCRBY', 'dagverk:total', 'ready', 1)
  if string.sub(id, 1, 2) ~= 'k:' or not is_set('schedule') then return end
  local moved = 0
  for _, key in ipairs(redis.call('SMEMBERS', 'dagverk:limit:lines')) do
    if name_of(key) == string.sub(id, 3) and moved < 10000 then
      local line = redis.call('ZRANGE', line_of(key), 0, 9999, 'WITHSCORES')
      for index = 1, #line, 2 do
        local jid = line[index]
        local element = waiting_element(jid, tonumber(line[index + 1]))
        if element then
          local score = score_of(now + moved)
          redis.call('ZADD', 'schedule', score, element)
          redis.call('ZADD', line_of(key), int(now + moved), jid)
          local hint = redis.call('GET', 'dagverk:job:' .. jid) or ''
          local queue = string.match(hint, '^s%S+ (.*)$')
          if queue then redis.call('SET', 'dagverk:job:' .. jid, 's' .. score .. ' ' .. queue, 'KEEPTTL') end
          moved = moved + 1
        end
      end
    end
  end
end
)lua";

// Sets or changes a limit: 1 done, 0 it was just so. Arguments: its id, what it says without its epoch, how many there
// may be, its bound (empty: none).
constexpr std::string_view put_text = R"lua(
local id, says, most, bound = arg(), arg(), tonumber(arg()), arg()
local queue = string.sub(id, 1, 2) == 'q:' and string.sub(id, 3) or nil
local old_bound = queue and redis.call('HGET', 'dagverk:bounds', queue) or ''
local old = redis.call('HGET', 'dagverk:limits', id)
if not old and redis.call('HLEN', 'dagverk:limits') >= most then
  return redis.error_reply('REFUSED there are ' .. most .. ' limits already; remove one')
end
local before, epoch = string.match(old or '', '^(.*) (%d+)$')
if before == says and old_bound == bound then return 0 end
local chain = queue and chain_of(queue, bound)
if chain then
  return redis.error_reply('REFUSED limit "' .. queue .. '": queue ' .. chain[1] .. ' diverts to ' .. chain[2] ..
                           ', which diverts itself (to ' .. chain[3] ..
                           '); a diverted job is diverted once: have one of them refuse or drop')
end
local to = target_of(bound)
if to and redis.call('SISMEMBER', 'queues', to) == 0 then
  if redis.call('SCARD', 'queues') >= 10000 then return redis.error_reply('REFUSED there are 10000 queues already') end
  redis.call('SADD', 'queues', to)
end
if queue and old_bound ~= bound then set_bound(queue, bound) end
local function kind_of(text) return string.gsub(text or '', '^%d+ (%d+) %d+ (%a)$', function(count, kind)
  return count == '0' and 'none' or kind
end) end
if not epoch or kind_of(before) ~= kind_of(says) then epoch = next_epoch() end
redis.call('HSET', 'dagverk:limits', id, says .. ' ' .. epoch)
changed(id)
return 1
)lua";

// 1 done, 0 there was none. Argument: id.
constexpr std::string_view remove_text = R"lua(
local id = arg()
if redis.call('HDEL', 'dagverk:limits', id) == 0 then return 0 end
if string.sub(id, 1, 2) == 'q:' then set_bound(string.sub(id, 3), '') end
changed(id)
return 1
)lua";

// 1 done, 0 there is none. Argument: id.
constexpr std::string_view reset_text = R"lua(
local id = arg()
local says = string.match(redis.call('HGET', 'dagverk:limits', id) or '', '^(.*) %d+$')
if not says then return 0 end
redis.call('HSET', 'dagverk:limits', id, says .. ' ' .. next_epoch())
changed(id)
return 1
)lua";

// All limits as of one moment: each with its id, what it says, and for each use key, running, waiting, tokens and when
// the next one comes (empty: it has no rate), of a queue refused, dropped and diverted; its bound (empty: none).
constexpr std::string_view list_text = R"lua(
local answer = {}
local function use(limit, id, key, running, waiting)
  local tokens, next_at = '', ''
  if limit.count > 0 then
    local meter = meter_of(limit, id)
    tokens, next_at = int(meter.tokens), int(meter.next)
  end
  return {key, running, waiting, tokens, next_at}
end
local keys_by_name, seen = {}, {}
local function add_keys(keys)
  for _, key in ipairs(keys) do
    local keys_of_name = keys_by_name[name_of(key)] or {}
    if not seen[key] then keys_of_name[#keys_of_name + 1] = key end
    keys_by_name[name_of(key)] = keys_of_name
    seen[key] = true
  end
end
add_keys(redis.call('HKEYS', 'dagverk:limit:used'))
for _, key in ipairs(redis.call('SMEMBERS', 'dagverk:limit:lines')) do
  if redis.call('EXISTS', line_of(key)) == 1 then add_keys({key}) else redis.call('SREM', 'dagverk:limit:lines', key) end
end
for _, id in ipairs(redis.call('HKEYS', 'dagverk:limits')) do
  local limit = limit_of(id)
  if limit then
    local name = string.sub(id, 3)
    local uses = {}
    if string.sub(id, 1, 2) == 'k:' then
      for _, key in ipairs(keys_by_name[name] or {}) do
        if #uses >= uses_limit then break end
        local running = redis.call('HGET', 'dagverk:limit:used', key) or '0'
        uses[#uses + 1] = use(limit, 'k:' .. key, key, running, int(redis.call('ZCARD', line_of(key))))
      end
    else
      local running = redis.call('HGET', 'dagverk:q:' .. name, 'running') or '0'
      uses[1] = use(limit, id, name, running, is_list('queue:' .. name) and int(redis.call('LLEN', 'queue:' .. name)) or '0')
    end
    local bound = ''
    if string.sub(id, 1, 2) == 'q:' then
      bound = redis.call('HGET', 'dagverk:bounds', name) or ''
      for _, count in ipairs({'refused', 'dropped', 'diverted'}) do
        uses[1][#uses[1] + 1] = redis.call('HGET', 'dagverk:q:' .. name, count) or '0'
      end
    end
    answer[#answer + 1] = {id, redis.call('HGET', 'dagverk:limits', id), uses, bound}
  end
end
return answer
)lua";

net::RedisScript script(std::string_view text, bool may_drain, bool drains) {
  return changing_script(concat(jids_source(), limits_source(), bounds_text, changed_text, text), may_drain, drains);
}

}  // namespace

LimitScripts::LimitScripts(bool may_drain)
    : put(script(put_text, may_drain, false)),
      remove(script(remove_text, may_drain, true)),
      list(script(list_text, may_drain, true)),
      reset(script(reset_text, may_drain, true)) {}

}  // namespace dagverk::stores::redis
