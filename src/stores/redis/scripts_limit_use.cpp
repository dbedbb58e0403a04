// What taking jobs and ending their runs does with limits.

#include "stores/redis/scripts_limits.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/limits.hpp"

#include <chrono>
#include <string>
#include <string_view>

namespace dagverk::stores::redis {

namespace {

// A limit is `SLOTS COUNT MICROSECONDS KIND EPOCH` in `dagverk:limits`, under `q:QUEUE` or `k:NAME`; 0 slots, or a
// count of 0: that part is not there. What was used of a rate is `AT USED` under `dagverk:rate:EPOCH:q:QUEUE` or
// `dagverk:rate:EPOCH:k:KEY`, which expire when they say nothing any more: it means what RateMeter says, and another
// epoch forgets it.
constexpr std::string_view limits_text = R"lua(
local limited = redis.call('EXISTS', 'dagverk:limits') == 1
local next_turn = 0
local limits, meters, used_meters = {}, {}, {}
local function limit_of(id)
  if not limited then return nil end
  if limits[id] ~= nil then return limits[id] or nil end
  local text = redis.call('HGET', 'dagverk:limits', id) or ''
  local slots, count, per, kind, epoch = string.match(text, '^(%d+) (%d+) (%d+) (%a) (%d+)$')
  local limit = slots and
    {slots = tonumber(slots), count = tonumber(count), per = tonumber(per), kind = kind, epoch = epoch}
  if limit then limit.spacing = math.ceil(limit.per / math.max(1, limit.count)) end
  limits[id] = limit or false
  return limit
end
local function meter_key(limit, id) return 'dagverk:rate:' .. limit.epoch .. ':' .. id end
-- `text`: what stands under its key, if that has been read (false: nothing does).
local function meter_of(limit, id, text)
  id = meter_key(limit, id)
  if meters[id] then return meters[id] end
  if text == nil then text = redis.call('GET', id) end
  local at, used = string.match(text or '', '^(%-?%d+) (%d+)$')
  at, used = tonumber(at or 0), tonumber(used or 0)
  local meter
  if limit.kind == 'b' then
    at = math.min(math.max(at, now), now + limit.count * limit.spacing)
    local tokens = limit.count - math.ceil((at - now) / limit.spacing)
    meter = {id = id, at = at, used = 0, tokens = tokens, next = at - (limit.count - 1) * limit.spacing}
  else
    local begin = math.floor(now / limit.per) * limit.per
    if at < begin then used = 0 end
    if at > begin then used = limit.count end
    meter = {id = id, at = begin, used = used, tokens = math.max(0, limit.count - used), next = begin + limit.per}
  end
  meters[id] = meter
  return meter
end
-- Is written by `write_meters`, once for all of a script's.
local function use_tokens(limit, meter, tokens)
  if limit.kind == 'b' then
    meter.at = meter.at + tokens * limit.spacing
    meter.next = meter.next + tokens * limit.spacing
  else
    meter.used = meter.used + tokens
  end
  meter.tokens = meter.tokens - tokens
  used_meters[meter] = limit
end
local function write_meters()
  for meter, limit in pairs(used_meters) do
    redis.call('SET', meter.id, int(meter.at) .. ' ' .. int(meter.used), 'PX', int(math.ceil(limit.per / 500) + 60000))
    used_meters[meter] = nil
  end
end
local function note_turn(meter)
  if meter.tokens <= 0 and (next_turn == 0 or meter.next < next_turn) then next_turn = meter.next end
end
-- How many jobs of a queue may begin, of at most `wanted`, and how to tell how many did.
local function room_in(queue, wanted)
  local limit = limit_of('q:' .. queue)
  if not limit then return wanted end
  local room = wanted
  if limit.slots > 0 then
    local running = tonumber(redis.call('HGET', 'dagverk:q:' .. queue, 'running') or '0')
    if counts[queue] then running = running + (counts[queue].running or 0) end
    room = math.min(room, limit.slots - running)
  end
  if limit.count == 0 then return math.max(0, room) end
  local meter = meter_of(limit, 'q:' .. queue)
  note_turn(meter)
  return math.max(0, math.min(room, meter.tokens)), function(begun)
    if begun > 0 then use_tokens(limit, meter, begun) end
    note_turn(meter)
  end
end
-- Of how many queues with a limit there are jobs that run no more.
local function freed_queues()
  local freed = 0
  if not limited then return 0 end
  for queue, fields in pairs(counts) do
    if (fields.running or 0) < 0 and redis.call('HEXISTS', 'dagverk:limits', 'q:' .. queue) == 1 then freed = freed + 1 end
  end
  return freed
end
)lua";

// Keys. A job with a limit key carries a mark (see scripts.hpp), so that others are not looked into.
// `dagverk:limit:used` counts the running jobs of each key, `dagverk:limit:runs` says which executions those are. Who
// waits for a key is in the schedule like any other job, and in `dagverk:limit:line:KEY` by its jid, with its due time
// in microseconds; what has left the schedule stays there until somebody meets it. `dagverk:limit:lines` has the keys
// for which some wait.
constexpr std::string_view keys_text = R"lua(
local byte, find, sub = string.byte, string.find, string.sub
local function marked(element)
  local one, two, three = byte(element, -3, -1)
  if three == 32 then return one == 9 and two == 9 end
  return three == 9 and sub(element, -6) == '\t\t \t \t'
end
local function key_of(element)
  if string.sub(element, 1, 1) == '\30' then
    local _, last, jid, queue, class, key = string.find(element, '^\30dgv1[JN] %-?%d+ (%d+) (%d+) (%d+) (%d+) ')
    if not last then return nil end
    jid, queue, class, key = tonumber(jid), tonumber(queue), tonumber(class), tonumber(key)
    local names = last + jid + queue + class
    return string.sub(element, names + 1, names + key), string.sub(element, last + 1, last + jid),
           string.sub(element, last + jid + 1, last + jid + queue)
  end
  if not marked(element) then return nil end
  local read, job = pcall(cjson.decode, element)
  if not read or type(job) ~= 'table' or type(job.limit_key) ~= 'string' or type(job.jid) ~= 'string' then return nil end
  return job.limit_key, job.jid, type(job.queue) == 'string' and job.queue or nil
end
-- The key alone. As we write a payload, it stands before all that is nested; so far in front there is no need to decode.
local function limit_key_of(element)
  if byte(element, 1) ~= 30 then
    if not marked(element) then return nil end
    local name = ',"limit_key":"'
    local before = find(element, name, 2, true)
    if before then
      local first = before + #name
      local key = sub(element, first, (find(element, '"', first, true) or 0) - 1)
      local list, object = find(element, '[', 2, true), find(element, '{', 2, true)
      local nested = list and list < before or object and object < before
      local escape = find(element, '\\', 2, true)
      if not nested and not (escape and escape < first + #key) then return key end
    end
  end
  return (key_of(element))
end
local function name_of(key) return string.match(key, '^[^:]*') end
local function line_of(key) return 'dagverk:limit:line:' .. key end
local function score_of(due) return string.format('%.6f', due / 1000000) end
local function waiting_element(jid, due)
  local score = score_of(due)
  for _, element in ipairs(redis.call('ZRANGEBYSCORE', 'schedule', score, score, 'LIMIT', 0, 100)) do
    local _, found = key_of(element)
    if found == jid then return element end
  end
end
-- Promotes the first that waits for a key to the front of its queue; whether there was one.
local woken = 0
local function wake(key)
  for _ = 1, 100 do
    local first = redis.call('ZRANGE', line_of(key), 0, 0, 'WITHSCORES')
    if #first == 0 then
      redis.call('SREM', 'dagverk:limit:lines', key)
      return false
    end
    local jid = first[1]
    local element = waiting_element(jid, tonumber(first[2]))
    if element then
      local _, _, queue = key_of(element)
      queue = queue or 'default'
      if not is_list('queue:' .. queue) then return false end
      redis.call('ZREM', 'schedule', element)
      redis.call('RPUSH', 'queue:' .. queue, element)
      redis.call('SADD', 'queues', queue)
      place(jid, queue)
      count(queue, 'scheduled', -1)
      if told(element) then journal(11, queue, 'x', element) end
      woken = woken + 1
      return true
    end
    redis.call('ZREM', line_of(key), jid)
  end
  return true
end
-- The limit keys of runs, at most 1000 (false: none), and whether all of them have one, which only those have that are
-- not over; nothing when no run has any.
local has_runs = redis.call('EXISTS', 'dagverk:limit:runs') == 1
local function keys_of(executions)
  if not has_runs or #executions == 0 then return nil, false end
  local keys = redis.call('HMGET', 'dagverk:limit:runs', unpack(executions))
  for index = 1, #keys do
    if not keys[index] then return keys, false end
  end
  return keys, true
end
-- Runs are over: gives their slots back, and has as many go on that wait for them. `found`: what keys_of says of them.
local function ended(executions, found)
  if not found or #executions == 0 then return end
  local over, keys, freed = {}, {}, {}
  for index = 1, #found do
    local key = found[index]
    if key then
      over[#over + 1] = executions[index]
      if not freed[key] then keys[#keys + 1] = key end
      freed[key] = (freed[key] or 0) + 1
    end
  end
  if #over == 0 then return end
  redis.call('HDEL', 'dagverk:limit:runs', unpack(over))
  local left, none = {}, {}
  for index, used in ipairs(redis.call('HMGET', 'dagverk:limit:used', unpack(keys))) do
    local rest = tonumber(used or 0) - freed[keys[index]]
    if rest > 0 then
      left[#left + 1] = keys[index]
      left[#left + 1] = int(rest)
    else
      none[#none + 1] = keys[index]
    end
  end
  if #left > 0 then redis.call('HSET', 'dagverk:limit:used', unpack(left)) end
  if #none > 0 then redis.call('HDEL', 'dagverk:limit:used', unpack(none)) end
  for _, key in ipairs(keys) do
    local limit = limit_of('k:' .. name_of(key))
    if limit and limit.slots > 0 and is_set('schedule') then -- a token does not come back
      for _ = 1, freed[key] do
        if not wake(key) then break end
      end
    end
  end
end
)lua";

// For the script that takes: `look_at` reads at once what is to be known of the limit keys of elements that come out of
// a queue, and answers with those keys. `begin_one` then says of each element whether it may begin, with its key if it
// has one; or that it is held back, and where it belongs now; or that it must go back into its queue. `note_begun`
// writes once what the jobs have used that begin. Of a key, `room` jobs may begin without another look.
constexpr std::string_view holding_text = R"lua(
local held = 0
local states, some_wait = {}, nil
local function look_at(elements)
  local keys, new, rated, texts = {}, {}, {}, {}
  for index = 1, #elements do
    local element = elements[index]
    local key = #element <= oversize and limit_key_of(element)
    if key and key ~= '' then
      keys[index] = key
      if not states[key] then
        states[key] = {limit = limit_of('k:' .. name_of(key)), room = 1000000, begun = 0, touched = false}
        new[#new + 1] = key
      end
    end
  end
  if #new == 0 then return keys end
  if some_wait == nil then some_wait = redis.call('EXISTS', 'dagverk:limit:lines') == 1 end
  local running = redis.call('HMGET', 'dagverk:limit:used', unpack(new))
  local waiting = some_wait and redis.call('SMISMEMBER', 'dagverk:limit:lines', unpack(new)) or {}
  for index, key in ipairs(new) do
    local state = states[key]
    local limit = state.limit
    state.used, state.waits = tonumber(running[index] or 0), waiting[index] == 1
    if limit and limit.slots > 0 then state.room = limit.slots - state.used end
    if state.waits then state.room = 0 end
    if limit and limit.count > 0 then
      rated[#rated + 1] = key
      texts[#texts + 1] = meter_key(limit, 'k:' .. key)
    end
  end
  if #rated == 0 then return keys end
  texts = redis.call('MGET', unpack(texts))
  for index, key in ipairs(rated) do
    local state = states[key]
    state.meter = meter_of(state.limit, 'k:' .. key, texts[index])
    state.room = math.min(state.room, state.meter.tokens)
  end
  return keys
end
-- What has begun since it was last counted.
local function settle_up(state)
  if state.begun == 0 then return end
  state.used = state.used + state.begun
  if state.meter then use_tokens(state.limit, state.meter, state.begun) end
  state.begun, state.touched = 0, true
end
local function turn_after(limit, meter, last)
  if last < meter.next then return meter.next end
  if limit.kind == 'b' then return last + limit.spacing end
  local into = last % limit.per
  return into + 1 < limit.count and last + 1 or last - into + limit.per
end
local function last_turn(key)
  for _ = 1, 100 do
    local last = redis.call('ZREVRANGE', line_of(key), 0, 0, 'WITHSCORES')
    if #last == 0 then return 0 end
    local due = tonumber(last[2])
    if due <= now or string.sub(redis.call('GET', 'dagverk:job:' .. last[1]) or '', 1, 1) == 's' then return due end
    redis.call('ZREM', line_of(key), last[1])
  end
  return 0
end
local function hold_back(element, queue, key, jid, own, limit, meter, memory)
  local line = line_of(key)
  local waited = redis.call('ZREM', line, jid) == 1
  local due = now + slot_wait + held
  if meter then
    due = waited and meter.next or turn_after(limit, meter, last_turn(key))
  elseif waited then
    local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) > now + slot_wait / 10 then due = tonumber(first[2]) - 1 end
  end
  local score, seconds = score_of(due), math.ceil((due - now) / 1000000) + memory
  redis.call('ZADD', line, int(due), jid)
  redis.call('EXPIRE', line, int(math.max(seconds, redis.call('TTL', line))))
  redis.call('SADD', 'dagverk:limit:lines', key)
  states[key].waits = true
  if redis.call('ZADD', 'schedule', score, element) == 1 then count(own, 'scheduled', 1) end
  if own ~= queue then
    count(queue, 'moved_out', 1)
    count(own, 'moved_in', 1)
  end
  redis.call('HDEL', 'dagverk:jids', jid)
  redis.call('HDEL', 'dagverk:jids:before', jid)
  redis.call('SET', 'dagverk:job:' .. jid, 's' .. score .. ' ' .. own, 'EX', int(seconds))
  if told(element) then journal(19, queue, 'x', element, 'd', cjson.encode({limit = name_of(key)})) end
  held = held + 1
  if held == moves_limit then next_turn = now + 1000 end
end
local function begin_one(element, key, queue, memory)
  if not key then return 'take' end
  local state = states[key]
  if state.room > 0 then
    state.room, state.begun = state.room - 1, state.begun + 1
    return 'take', key
  end
  settle_up(state)
  local limit, meter = state.limit, state.meter
  if limit then
    local full = limit.slots > 0 and state.used >= limit.slots
    if full then meter = nil end
    if full or meter and meter.tokens <= 0 then
      local _, jid, own = key_of(element)
      if not jid then return 'take' end
      if held >= moves_limit or not is_set('schedule') then return 'back' end
      hold_back(element, queue, key, jid, own or queue, limit, meter, memory)
      return 'held'
    end
    if state.waits then
      local _, jid = key_of(element)
      if jid then redis.call('ZREM', line_of(key), jid) end
    end
  end
  state.begun = 1
  return 'take', key
end
-- `fields`: every other one is the number of a run; `keys`: those of the runs that have one.
local function note_begun(fields, keys)
  local runs, slots = {}, {}
  for position, key in pairs(keys) do
    runs[#runs + 1] = fields[2 * position - 1]
    runs[#runs + 1] = key
  end
  for key, state in pairs(states) do
    settle_up(state)
    if state.touched then
      slots[#slots + 1] = key
      slots[#slots + 1] = int(state.used)
      state.touched = false
    end
  end
  if #runs > 0 then redis.call('HSET', 'dagverk:limit:runs', unpack(runs)) end
  if #slots > 0 then redis.call('HSET', 'dagverk:limit:used', unpack(slots)) end
end
)lua";

std::string constants() {
  return concat("local slot_wait, moves_limit, uses_limit = ",
                std::chrono::duration_cast<std::chrono::microseconds>(jobs::limit_slot_wait).count(), ", ",
                jobs::limit_moves_limit, ", ", jobs::limit_uses_limit, "\n");
}

}  // namespace

std::string limits_source() { return concat(constants(), limits_text, keys_text); }
std::string holding_source() { return std::string(holding_text); }

}  // namespace dagverk::stores::redis
