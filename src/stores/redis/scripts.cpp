#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"

#include <string>
#include <string_view>

namespace dagverk::stores::redis {

namespace {

// Begins every script that changes something. Arguments: the time in microseconds (0: the server's), the journal's
// bound in rows (0: no journal). `finish` writes the counts and the journal rows that were collected.
constexpr std::string_view prelude = R"lua(
local at = 0
local function arg() at = at + 1 return ARGV[at] end
local function int(number) return string.format('%.0f', number) end
local now = tonumber(arg())
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local journal_rows = arg()
local counts, rows = {}, {}
local function count(queue, field, by)
  local fields = counts[queue]
  if not fields then fields = {} counts[queue] = fields end
  fields[field] = (fields[field] or 0) + by
end
local function told(element)
  if string.sub(element, 1, 1) == '\30' then return string.sub(element, 6, 6) == 'j' end
  return string.sub(element, -3) ~= '\t \t'
end
local function journal(kind, queue, ...)
  if journal_rows ~= '0' then rows[#rows + 1] = {kind, queue, ...} end
end
local function finish()
  for queue, fields in pairs(counts) do
    for field, by in pairs(fields) do
      if by ~= 0 then redis.call('HINCRBY', 'dagverk:q:' .. queue, field, int(by)) end
    end
  end
  if #rows == 0 then return end
  local seq = redis.call('HINCRBY', 'dagverk:total', 'journal', #rows) - #rows
  for index, row in ipairs(rows) do
    redis.call('XADD', 'dagverk:journal', 'MAXLEN', '~', journal_rows, int(seq + index) .. '-0',
               'k', row[1], 't', int(now), 'q', row[2], unpack(row, 3))
  end
end
local function is_list(key)
  local kind = redis.call('TYPE', key).ok
  return kind == 'list' or kind == 'none'
end
)lua";

// Enqueues a batch as one step: either every job that is not a duplicate is in its queue or in the schedule, is
// remembered by its jid, is counted and journaled, or nothing has changed. Repeating finds duplicates.
// Per job: jid, queue, score (empty: now), element, seconds to remember the jid; with a journal also whether to write
// a row, class, detail.
constexpr std::string_view enqueue_text = R"lua(
local jobs = tonumber(arg())
local stride = journal_rows == '0' and 5 or 8
local queues, new = {}, 0
for index = 0, jobs - 1 do
  local queue = ARGV[at + index * stride + 2]
  if not queues[queue] then
    queues[queue] = {}
    if not is_list('queue:' .. queue) then
      return redis.error_reply('WRONGTYPE queue:' .. queue .. ' is no list')
    end
    if redis.call('SISMEMBER', 'queues', queue) == 0 then
      new = new + 1
      if redis.call('SCARD', 'queues') + new > 10000 then
        return redis.error_reply('REFUSED there are 10000 queues already')
      end
    end
  end
end
local outcomes, later, duplicates, ready = {}, {}, 0, 0
for index = 1, jobs do
  local jid, queue, score, element, ttl = arg(), arg(), arg(), arg(), arg()
  local row, class, detail = '0', '', ''
  if stride == 8 then row, class, detail = arg(), arg(), arg() end
  local hint = score == '' and ('q ' .. queue) or ('s' .. score .. ' ' .. queue)
  if redis.call('SET', 'dagverk:job:' .. jid, hint, 'NX', 'EX', ttl) then
    outcomes[index] = 1
    count(queue, 'enqueued', 1)
    if score == '' then
      ready = ready + 1
      table.insert(queues[queue], element)
    else
      later[#later + 1] = score
      later[#later + 1] = element
      count(queue, 'scheduled', 1)
    end
    if row == '1' then journal(score == '' and 1 or 2, queue, 'j', jid, 'c', class, 'd', detail) end
  else
    outcomes[index] = 0
    duplicates = duplicates + 1
  end
end
for queue, elements in pairs(queues) do
  redis.call('SADD', 'queues', queue)
  if #elements > 0 then redis.call('LPUSH', 'queue:' .. queue, unpack(elements)) end
end
if #later > 0 then redis.call('ZADD', 'schedule', unpack(later)) end
if duplicates > 0 then redis.call('HINCRBY', 'dagverk:total', 'duplicates', duplicates) end
if ready > 0 then redis.call('HINCRBY', 'dagverk:total', 'ready', ready) end
finish()
return outcomes
)lua";

// Takes a batch and registers it as one step: each job is in its queue, or in the node's hash of running jobs under an
// execution number that was never used before. A job is never in neither, and a node that is not registered, or whose
// lease has run out, gets none. Foreign keys of a wrong type are passed over.
// Arguments: node, jobs at most, bytes after which it stops, queues.
constexpr std::string_view take_text = R"lua(
local node, wanted, bytes = arg(), tonumber(arg()), tonumber(arg())
local lease = redis.call('HGET', 'dagverk:node:' .. node, 'lease')
if not lease or tonumber(lease) < now then return redis.error_reply('REFUSED node ' .. node .. ' is not registered, or its lease has run out') end
local run = 'dagverk:run:' .. node
local answer, size, largest = {int(now), '0'}, 0, 0
while at < #ARGV and wanted > 0 and size < bytes do
  local index = at
  local queue = arg()
  local taken = {}
  local key = 'queue:' .. queue
  while wanted > 0 and size < bytes do
    -- So few at once that they hardly exceed the bytes; what does goes back.
    local some = 1
    if largest > 0 then some = math.max(1, math.min(wanted, 100, math.floor((bytes - size) / (4 * largest)))) end
    local popped = redis.pcall('RPOP', key, some)
    if not popped or popped.err or #popped == 0 then break end
    for at_popped, element in ipairs(popped) do
      if size < bytes then
        taken[#taken + 1] = element
        size = size + #element
        wanted = wanted - 1
        largest = math.max(largest, #element)
      else
        for rest = #popped, at_popped, -1 do redis.call('RPUSH', key, popped[rest]) end
        break
      end
    end
    if #popped < some then break end
  end
  if #taken > 0 then
    local execution = redis.call('INCRBY', 'dagverk:seq', #taken) - #taken
    local head = int(now) .. ' ' .. #queue .. ' ' .. queue
    local fields = {}
    for position, element in ipairs(taken) do
      fields[2 * position - 1] = int(execution + position)
      fields[2 * position] = head .. element
      if told(element) then journal(3, queue, 'x', element) end
    end
    redis.call('HSET', run, unpack(fields))
    count(queue, 'running', #taken)
    answer[#answer + 1] = queue
    answer[#answer + 1] = int(execution + 1)
    answer[#answer + 1] = taken
  end
end
answer[2] = int(redis.call('HLEN', 'dagverk:rescued'))
finish()
return answer
)lua";

// Changes the places of a batch of jobs as one step. Each item names exactly where its job is (an execution in a
// node's hash, a member of a sorted set, an element of a list); a job that is not there any more is left alone and
// answered with 0. So nothing happens twice, and a job is never in no place and never in two.
// Per item `f` (finished, without a journal row): hash, execution, jid, queue, count.
// Per item `h`, `z`, `l`: key; execution or element; to (empty, L, R, Z) with its key; new element (empty: the old);
// score (`now`: of this moment); jid; what to remember of it (empty: nothing any more) with its tail and seconds; its
// record of rescues (empty: untouched, -: none); statistics (p processed, f failed); counts; journal row.
constexpr std::string_view change_text = R"lua(
local day, items = arg(), tonumber(arg())
local outcomes, gone, processed, failed, refused, ready = {}, {}, 0, 0, 0, 0
local rescued = redis.call('HLEN', 'dagverk:rescued') > 0
local checked = {}
for index = 1, items do
  local from, key, member = arg(), arg(), arg()
  if from == 'f' then
    local jid, queue, field = arg(), arg(), arg()
    if redis.call('HDEL', key, member) == 1 then
      outcomes[index] = 1
      gone[#gone + 1] = 'dagverk:job:' .. jid
      if rescued then redis.call('HDEL', 'dagverk:rescued', jid) end
      count(queue, 'running', -1)
      count(queue, field, 1)
      if field == 'finished' then processed = processed + 1 end
    else
      outcomes[index] = 0
      refused = refused + 1
    end
  else
    local to, to_key, element, score, jid = arg(), arg(), arg(), arg(), arg()
    local hint, tail, ttl, rescues, statistics = arg(), arg(), arg(), arg(), arg()
    local removed = 0
    if (to == 'L' or to == 'R') and not checked[to_key] then
      checked[to_key] = is_list(to_key) and 1 or 2
    end
    if checked[to_key] ~= 2 then
      if from == 'h' then
        if to ~= '' and element == '' then
          local value = redis.call('HGET', key, member)
          if value then
            local _, last, size = string.find(value, '^%d+ (%d+) ')
            element = string.sub(value, last + tonumber(size) + 1)
          end
        end
        removed = redis.call('HDEL', key, member)
      elseif from == 'z' then
        removed = redis.call('ZREM', key, member)
        if element == '' then element = member end
      else
        removed = redis.call('LREM', key, -1, member)
        if element == '' then element = member end
      end
    end
    outcomes[index] = removed
    if removed == 1 then
      if score == 'now' then score = string.format('%.6f', now / 1000000) end
      if to == 'L' then
        redis.call('LPUSH', to_key, element)
        ready = ready + 1
      elseif to == 'R' then
        redis.call('RPUSH', to_key, element)
        ready = ready + 1
      elseif to == 'Z' then
        redis.call('ZADD', to_key, score, element)
      end
      if hint == '' then
        redis.call('DEL', 'dagverk:job:' .. jid)
      else
        redis.call('SET', 'dagverk:job:' .. jid, hint .. score .. ' ' .. tail, 'EX', ttl)
      end
      if rescues == '-' then
        if rescued then redis.call('HDEL', 'dagverk:rescued', jid) end
      elseif rescues ~= '' then
        redis.call('HSET', 'dagverk:rescued', jid, rescues)
        rescued = true
      end
      if statistics ~= '' then processed = processed + 1 end
      if statistics == 'f' then failed = failed + 1 end
    elseif from == 'h' then
      refused = refused + 1
    end
    for _ = 1, tonumber(arg()) do
      local queue, field, by = arg(), arg(), tonumber(arg())
      if removed == 1 then
        count(queue, field, by)
        if by > 0 then checked['+' .. queue] = queue end
      end
    end
    local kind = arg()
    if kind ~= '' then
      local queue, class, detail = arg(), arg(), arg()
      if removed == 1 then journal(kind, queue, 'j', jid, 'c', class, 'd', detail) end
    end
  end
end
for _, queue in pairs(checked) do
  if type(queue) == 'string' then redis.call('SADD', 'queues', queue) end
end
if #gone > 0 then redis.call('DEL', unpack(gone)) end
if refused > 0 then redis.call('HINCRBY', 'dagverk:total', 'refused', refused) end
if ready > 0 then redis.call('HINCRBY', 'dagverk:total', 'ready', ready) end
if processed > 0 then
  redis.call('INCRBY', 'stat:processed', processed)
  redis.call('INCRBY', 'stat:processed:' .. day, processed)
  redis.call('EXPIRE', 'stat:processed:' .. day, 157680000)
end
if failed > 0 then
  redis.call('INCRBY', 'stat:failed', failed)
  redis.call('INCRBY', 'stat:failed:' .. day, failed)
  redis.call('EXPIRE', 'stat:failed:' .. day, 157680000)
end
finish()
return outcomes
)lua";

// Reads a part of a list (from its right end) or of a sorted set, and stops after a number of bytes: what others put
// there may be of any size. Changes nothing.
// Key; arguments: `l` list, `z` sorted set by rank, `s` by score with the bounds at the end; first, count, bytes.
constexpr std::string_view slice_text = R"lua(
local kind, offset, left, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local found, size, largest = {}, 0, 0
while left > 0 and size < bytes do
  local some = 1
  if largest > 0 then some = math.max(1, math.min(left, 500, math.floor((bytes - size) / (4 * largest)))) end
  local part
  if kind == 'l' then
    part = redis.call('LRANGE', KEYS[1], -offset - some, -offset - 1)
  elseif kind == 'z' then
    part = redis.call('ZRANGE', KEYS[1], offset, offset + some - 1, 'WITHSCORES')
  else
    part = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[5], ARGV[6], 'WITHSCORES', 'LIMIT', offset, some)
  end
  local got = kind == 'l' and #part or #part / 2
  for index = 1, got do
    local element = kind == 'l' and part[got - index + 1] or part[2 * index - 1]
    found[#found + 1] = element
    if kind ~= 'l' then found[#found + 1] = part[2 * index] end
    size = size + #element
    largest = math.max(largest, #element)
    if size >= bytes then break end
  end
  if got < some then break end
  offset = offset + got
  left = left - got
end
return found
)lua";

// Shows the members of two sorted sets that are due, each set until it has enough of them or of their bytes, and the
// score of the first one that is not due (empty: none). Changes nothing. Two keys; arguments: until when, count, bytes.
constexpr std::string_view peek_text = R"lua(
local answer = {}
for index, key in ipairs(KEYS) do
  local offset, left, size, largest = 0, tonumber(ARGV[2]), 0, 0
  local found = {}
  while left > 0 and size < tonumber(ARGV[3]) do
    local some = 1
    if largest > 0 then some = math.max(1, math.min(left, 500, math.floor((ARGV[3] - size) / (4 * largest)))) end
    local part = redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', offset, some)
    for at = 1, #part, 2 do
      found[#found + 1] = part[at]
      found[#found + 1] = part[at + 1]
      size = size + #part[at]
      largest = math.max(largest, #part[at])
    end
    if #part < 2 * some then break end
    offset = offset + some
    left = left - some
  end
  local next_one = redis.call('ZRANGEBYSCORE', key, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  answer[2 * index - 1] = found
  answer[2 * index] = next_one[2] or ''
end
return answer
)lua";

// Makes a node known under a number that was never used before, with a lease from now on.
// Arguments: lease in microseconds, name, detail.
constexpr std::string_view node_register_text = R"lua(
local lease, name, detail = tonumber(arg()), arg(), arg()
local node = int(redis.call('INCR', 'dagverk:seq'))
redis.call('HSET', 'dagverk:node:' .. node, 'lease', int(now + lease), 'registered', int(now), 'name', name, 'detail', detail)
redis.call('SADD', 'dagverk:nodes', node)
return node
)lua";

// Prolongs a lease, unless somebody has found the node dead: 1 done, 0 refused.
// Arguments: node, lease in microseconds, whether there is a new detail, the detail.
constexpr std::string_view node_renew_text = R"lua(
local key, lease, given, detail = 'dagverk:node:' .. arg(), tonumber(arg()), arg(), arg()
local old = redis.call('HGET', key, 'lease')
if not old or old == '0' then return 0 end
redis.call('HSET', key, 'lease', int(now + lease))
if given == '1' then redis.call('HSET', key, 'detail', detail) end
return 1
)lua";

// Ends a node in order: its jobs go back to the front of their queues in one step, at most 1000; of more, the rest is
// left to whoever rescues next. Answers how many, -1 when there is no such node. Argument: node.
constexpr std::string_view node_retire_text = R"lua(
local node = arg()
local key, run = 'dagverk:node:' .. node, 'dagverk:run:' .. node
if redis.call('EXISTS', key) == 0 then return -1 end
local executions = redis.call('HKEYS', run)
table.sort(executions, function(a, b) return tonumber(a) > tonumber(b) end)
local moved = 0
for _, execution in ipairs(executions) do
  if moved == 1000 then break end
  local value = redis.call('HGET', run, execution)
  local _, last, size = string.find(value, '^%d+ (%d+) ')
  local queue = string.sub(value, last + 1, last + tonumber(size))
  local element = string.sub(value, last + tonumber(size) + 1)
  if is_list('queue:' .. queue) then
    redis.call('RPUSH', 'queue:' .. queue, element)
    redis.call('HDEL', run, execution)
    count(queue, 'running', -1)
    if told(element) then journal(9, queue, 'x', element) end
    moved = moved + 1
  end
end
if moved == #executions then
  redis.call('DEL', key)
  redis.call('SREM', 'dagverk:nodes', node)
else
  redis.call('HSET', key, 'lease', '0')
end
if moved > 0 then redis.call('HINCRBY', 'dagverk:total', 'ready', moved) end
finish()
return moved
)lua";

// Finds the nodes whose lease has run out and makes their death final, so that none renews between two slices of its
// rescue. Answers with the time left to the first lease that may run out, in microseconds (-1: none), and with their
// numbers. Argument: who looks, and is passed over unless found dead before.
constexpr std::string_view nodes_condemn_text = R"lua(
local rescuer = arg()
local dead, first = {'-1'}, nil
for _, node in ipairs(redis.call('SMEMBERS', 'dagverk:nodes')) do
  local key = 'dagverk:node:' .. node
  local lease = redis.call('HGET', key, 'lease')
  if not lease then
    redis.call('HSET', key, 'lease', '0')
    dead[#dead + 1] = node
  elseif lease == '0' then
    dead[#dead + 1] = node
  elseif node ~= rescuer and tonumber(lease) < now then
    redis.call('HSET', key, 'lease', '0')
    dead[#dead + 1] = node
  elseif node ~= rescuer and (not first or tonumber(lease) < first) then
    first = tonumber(lease)
  end
end
if first then dead[1] = int(first - now) end
return dead
)lua";

// Forgets a dead node that has no jobs any more: 1 done, 0 it has some. Argument: node.
constexpr std::string_view node_forget_text = R"lua(
local node = arg()
if redis.call('EXISTS', 'dagverk:run:' .. node) == 1 then return 0 end
if redis.call('HGET', 'dagverk:node:' .. node, 'lease') ~= '0' then return 0 end
redis.call('DEL', 'dagverk:node:' .. node)
redis.call('SREM', 'dagverk:nodes', node)
return 1
)lua";

// What takes jobs out, or keeps a node alive, must run although the server's memory is full; what puts jobs in must
// not.
net::RedisScript script(std::string_view text, bool may_drain, bool drains, bool changes = true) {
  return net::RedisScript(
      concat(may_drain && drains ? "#!lua flags=allow-oom\n" : "", changes ? prelude : std::string_view(), text));
}

}  // namespace

Scripts::Scripts(bool may_drain)
    : enqueue(script(enqueue_text, may_drain, false)),
      take(script(take_text, may_drain, true)),
      change(script(change_text, may_drain, true)),
      slice(script(slice_text, may_drain, false, false)),
      peek(script(peek_text, may_drain, false, false)),
      node_register(script(node_register_text, may_drain, true)),
      node_renew(script(node_renew_text, may_drain, true)),
      node_retire(script(node_retire_text, may_drain, true)),
      nodes_condemn(script(nodes_condemn_text, may_drain, true)),
      node_forget(script(node_forget_text, may_drain, true)) {}

}  // namespace dagverk::stores::redis
