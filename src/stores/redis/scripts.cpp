#include "stores/redis/scripts.hpp"

#include "stores/redis/scripts_limits.hpp"
#include "stores/redis/scripts_quick.hpp"
#include "stores/redis/scripts_unique.hpp"

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
local function int(number) return string.format('%d', number) end
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
  if string.sub(element, 1, 1) == '\30' then return string.lower(string.sub(element, 6, 6)) == 'j' end
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
local function is_set(key)
  local kind = redis.call('TYPE', key).ok
  return kind == 'zset' or kind == 'none'
end
)lua";

// What is known of jids. A job that is ready or running has its jid in one of two hashes, with the time and the queue:
// the present one, which takes what comes, and the one before. When the present one has been filled for as long as a
// jid is remembered, it becomes the one before, and that is dropped: so a jid is known at least that long after the
// last change of its job, and nothing stays for ever of jobs that others have taken. All other jobs have a key per jid,
// which expires. A jid is in one of these three places at most. `turn` (seconds to remember a jid) comes before what
// puts one into a hash, and tells whether any queue has a bound (`bounded`); `forget` takes a list of jids, at most
// 1000.
constexpr std::string_view jids_text = R"lua(
local turned, bounded = false, false
local function turn(memory)
  if turned then return end
  turned = true
  local since
  since, bounded = unpack(redis.call('HMGET', 'dagverk:total', 'jids_since', 'bounds'))
  if since and now - tonumber(since) < memory * 1000000 then return end
  redis.call('UNLINK', 'dagverk:jids:before')
  if redis.call('EXISTS', 'dagverk:jids') == 1 then redis.call('RENAME', 'dagverk:jids', 'dagverk:jids:before') end
  redis.call('HSET', 'dagverk:total', 'jids_since', int(now))
end
local function known(jid)
  return redis.call('HEXISTS', 'dagverk:jids', jid) == 1 or redis.call('HEXISTS', 'dagverk:jids:before', jid) == 1 or
         redis.call('EXISTS', 'dagverk:job:' .. jid) == 1
end
local function forget(gone)
  if redis.call('HDEL', 'dagverk:jids', unpack(gone)) == #gone then return end
  redis.call('HDEL', 'dagverk:jids:before', unpack(gone))
  local keys = {}
  for index, jid in ipairs(gone) do keys[index] = 'dagverk:job:' .. jid end
  redis.call('DEL', unpack(keys))
end
local function place(jid, queue)
  redis.call('HSET', 'dagverk:jids', jid, int(now) .. ' ' .. queue)
  redis.call('HDEL', 'dagverk:jids:before', jid)
  redis.call('DEL', 'dagverk:job:' .. jid)
end
)lua";

// For what puts jobs in, before its own text. A script that fails halfway is not undone: `admit` and `admit_set` look
// at what could fail and answer with an error, or nil. `put_in` puts elements, in this order, behind all that is in
// their queue; `done` ends such a script.
constexpr std::string_view admission_text = R"lua(
local queues, sets, new, ready = {}, {}, {}, 0
local function admit(queue)
  if queues[queue] then return nil end
  queues[queue] = true
  if not is_list('queue:' .. queue) then
    return redis.error_reply('WRONGTYPE queue:' .. queue .. ' is no list')
  end
  if redis.call('SISMEMBER', 'queues', queue) == 1 then return nil end
  new[#new + 1] = queue
  if redis.call('SCARD', 'queues') + #new > 10000 then
    return redis.error_reply('REFUSED there are 10000 queues already')
  end
end
local function admit_set(key)
  if sets[key] then return nil end
  sets[key] = true
  if not is_set(key) then return redis.error_reply('WRONGTYPE ' .. key .. ' is no sorted set') end
end
local function put_in(queue, elements, first, last)
  if last < first then return end
  redis.call('LPUSH', 'queue:' .. queue, unpack(elements, first, last))
  ready = ready + last - first + 1
end
local function done(duplicates)
  if #new > 0 then redis.call('SADD', 'queues', unpack(new)) end
  if duplicates > 0 then redis.call('HINCRBY', 'dagverk:total', 'duplicates', duplicates) end
  if ready > 0 then redis.call('HINCRBY', 'dagverk:total', 'ready', ready) end
  finish()
end
)lua";

// Enqueues a batch as one step: either every job that is not a duplicate is in its queue or in the schedule, is
// remembered by its jid, is counted and journaled, or nothing has changed. Repeating finds duplicates. Answers with the
// numbers of the jobs that were duplicates; or with -1 and the queue when one has a bound (`heed_bounds`), and nothing
// has changed: those that may not all go in are enqueued one by one, by the script of unique jobs.
// Arguments: seconds to remember a jid, groups. Per group: queue, jobs, kind (empty: now, z: later); the jids; the
// elements; of later ones the scores, then the seconds to remember each jid; with a journal for each job whether to
// write a row, class, detail.
constexpr std::string_view enqueue_text = R"lua(
local memory, groups = tonumber(arg()), tonumber(arg())
local first = at
for _ = 1, groups do
  local queue, jobs, kind = arg(), tonumber(arg()), arg()
  at = at + jobs * ((kind == 'z' and 4 or 2) + (journal_rows == '0' and 0 or 3))
  local refused = kind == 'z' and admit_set('schedule') or admit(queue)
  if refused then return refused end
end
at = first
turn(memory)
if heed_bounds and bounded then
  for queue in pairs(queues) do
    if redis.call('HEXISTS', 'dagverk:bounds', queue) == 1 then return {-1, queue} end
  end
end
local has_before = redis.call('EXISTS', 'dagverk:jids:before') == 1
local duplicates, number = {}, 0
for _ = 1, groups do
  local queue, jobs, kind = arg(), tonumber(arg()), arg()
  local jid_at, element_at = at, at + jobs
  local score_at, ttl_at = at + 2 * jobs, at + 3 * jobs
  at = at + jobs * (kind == 'z' and 4 or 2)
  local row_at = at
  if journal_rows ~= '0' then at = at + 3 * jobs end
  local present = redis.call('HMGET', 'dagverk:jids', unpack(ARGV, jid_at + 1, jid_at + jobs))
  local before = has_before and redis.call('HMGET', 'dagverk:jids:before', unpack(ARGV, jid_at + 1, jid_at + jobs)) or {}
  local keys, fields, clean, since = {}, {}, kind == '', int(now) .. ' ' .. queue
  for index = 1, jobs do
    local jid = ARGV[jid_at + index]
    keys[index] = 'dagverk:job:' .. jid
    fields[2 * index - 1] = jid
    fields[2 * index] = since
    if present[index] or before[index] then clean = false end
  end
  -- All of them new, and none of them twice in this group: they go in as they have come.
  clean = clean and redis.call('EXISTS', unpack(keys)) == 0
  clean = clean and redis.call('HSET', 'dagverk:jids', unpack(fields)) == jobs
  local refused, added = {}, jobs
  if clean then
    put_in(queue, ARGV, element_at + 1, element_at + jobs)
  else
    local seen, elements = {}, {}
    for index = 1, jobs do
      local jid = ARGV[jid_at + index]
      if present[index] or before[index] or seen[jid] or redis.call('EXISTS', keys[index]) == 1 then
        refused[index] = true
        duplicates[#duplicates + 1] = number + index
        added = added - 1
      else
        seen[jid] = true
        if kind == '' then
          redis.call('HSET', 'dagverk:jids', jid, since)
        else
          local score = ARGV[score_at + index]
          redis.call('SET', keys[index], 's' .. score .. ' ' .. queue, 'EX', ARGV[ttl_at + index])
          elements[#elements + 1] = score
        end
        elements[#elements + 1] = ARGV[element_at + index]
      end
    end
    if kind == '' then
      put_in(queue, elements, 1, #elements)
    elseif #elements > 0 then
      redis.call('ZADD', 'schedule', unpack(elements))
    end
  end
  count(queue, 'enqueued', added)
  if kind == 'z' then count(queue, 'scheduled', added) end
  if journal_rows ~= '0' then
    for index = 1, jobs do
      local row = row_at + 3 * (index - 1)
      if ARGV[row + 1] == '1' and not refused[index] then
        journal(kind == 'z' and 2 or 1, queue, 'j', ARGV[jid_at + index], 'c', ARGV[row + 2], 'd', ARGV[row + 3])
      end
    end
  end
  number = number + jobs
end
done(#duplicates)
return duplicates
)lua";

// Puts jobs where another store had them, as one step. Repeating finds duplicates.
// The journal rows' detail; seconds to remember a jid. Per job: jid, queue, where (q, s, r, d), score (empty: now),
// element, why it died, seconds to remember this jid where it waits, how often it was rescued, kind of the journal row
// (empty: none), class.
constexpr std::string_view restore_text = R"lua(
local jobs, detail, memory = tonumber(arg()), arg(), tonumber(arg())
local places = {s = {'schedule', 'scheduled'}, r = {'retry', 'retrying'}, d = {'dead', 'dead'}}
for index = 0, jobs - 1 do
  local place = places[ARGV[at + index * 10 + 3]]
  local refused = place and admit_set(place[1]) or admit(ARGV[at + index * 10 + 2])
  if refused then return refused end
end
turn(memory)
local outcomes, duplicates, elements = {}, 0, {}
for index = 1, jobs do
  local jid, queue, where, score, element = arg(), arg(), arg(), arg(), arg()
  local reason, ttl, rescues, kind, class = arg(), arg(), arg(), arg(), arg()
  if known(jid) then
    outcomes[index] = 0
    duplicates = duplicates + 1
  else
    outcomes[index] = 1
    count(queue, 'enqueued', 1)
    if where == 'q' then
      place(jid, queue)
      local list = elements[queue] or {}
      list[#list + 1] = element
      elements[queue] = list
    else
      if score == '' then score = string.format('%.6f', now / 1000000) end
      local hint = where .. score .. ' ' .. queue
      if where == 'd' then hint = hint .. '\n' .. reason end
      redis.call('SET', 'dagverk:job:' .. jid, hint, 'EX', ttl)
      redis.call('ZADD', places[where][1], score, element)
      count(queue, places[where][2], 1)
    end
    if rescues ~= '0' then redis.call('HSET', 'dagverk:rescued', jid, rescues .. ' 0 0') end
    if kind ~= '' then journal(kind, queue, 'j', jid, 'c', class, 'd', detail) end
  end
end
for queue, list in pairs(elements) do put_in(queue, list, 1, #list) end
done(duplicates)
return outcomes
)lua";

// Takes a batch and registers it as one step: each job is in its queue, or in the node's hash of running jobs under an
// execution number that was never used before. A job is never in neither, and a node that is not registered, or whose
// lease has run out, gets none. Foreign keys of a wrong type are passed over, and so are queues that are paused, or at
// their limit, each of which is answered with execution 0. What is too large for a job goes to the dead set here and
// now: no node ever loads it.
// Arguments: node, jobs at most, bytes after which it stops, seconds to remember a jid, how large elements are at most
// as far as anybody knows (0: nobody does), queues.
constexpr std::string_view take_text = R"lua(
local node, wanted, bytes, memory, largest = arg(), tonumber(arg()), tonumber(arg()), tonumber(arg()), tonumber(arg())
local lease = redis.call('HGET', 'dagverk:node:' .. node, 'lease')
if not lease or tonumber(lease) < now then return redis.error_reply('REFUSED node ' .. node .. ' is not registered, or its lease has run out') end
local run = 'dagverk:run:' .. node
local answer, size, held_back = {int(now), '0', '0', '0'}, 0, '0'
local paused = redis.pcall('SMISMEMBER', 'paused', unpack(ARGV, at + 1))
local names = at
while at < #ARGV and wanted > 0 and size < bytes do
  local index = at
  local queue = arg()
  local taken, limit_keys = {}, {}
  local key = 'queue:' .. queue
  local skipped = paused[at - names] == 1
  local allowed, begun = wanted, nil
  if not skipped then allowed, begun = room_in(queue, wanted) end
  local rest = wanted - allowed
  if rest > 0 then held_back = '1' end
  wanted = allowed
  if skipped or allowed == 0 then
    skipped = true
    answer[#answer + 1] = queue
    answer[#answer + 1] = '0'
    answer[#answer + 1] = taken
  end
  while wanted > 0 and size < bytes and not skipped do
    -- So few at once that they hardly exceed the bytes; what does goes back.
    local some = 1
    if largest > 0 then some = math.max(1, math.min(wanted, 100, math.floor((bytes - size) / (4 * largest)))) end
    local popped = redis.pcall('RPOP', key, some)
    if not popped or popped.err or #popped == 0 then break end
    local keys = look_at(popped)
    for at_popped = 1, #popped do
      local element = popped[at_popped]
      local verdict, limit_key = 'back', nil
      if #element > oversize then
        verdict = is_set('dead') and 'dead' or 'back'
      elseif size < bytes then
        verdict, limit_key = begin_one(element, keys[at_popped], queue, memory)
      end
      if verdict == 'dead' then
        redis.call('ZADD', 'dead', string.format('%.6f', now / 1000000), element)
        count(queue, 'dead', 1)
        count(queue, 'died', 1)
        journal(7, queue, 'j', 'huge-' .. #element .. '-' .. redis.call('ZSCORE', 'dead', element))
      elseif verdict == 'take' then
        taken[#taken + 1] = element
        limit_keys[#taken] = limit_key
        size = size + #element
        wanted = wanted - 1
        largest = math.max(largest, #element)
      elseif verdict == 'back' then
        for rest = #popped, at_popped, -1 do redis.call('RPUSH', key, popped[rest]) end
        some = #popped + 1
        break
      end
    end
    if #popped < some then break end
  end
  if #taken > 0 then
    local execution = redis.call('INCRBY', 'dagverk:seq', #taken) - #taken
    local head = int(now) .. ' ' .. #queue .. ' ' .. queue
    local fields = {}
    for position = 1, #taken do
      fields[2 * position - 1] = int(execution + position)
      fields[2 * position] = head .. taken[position]
    end
    if journal_rows ~= '0' then
      for _, element in ipairs(taken) do
        if told(element) then journal(3, queue, 'x', element) end
      end
    end
    redis.call('HSET', run, unpack(fields))
    free_started(taken)
    note_begun(fields, limit_keys)
    count(queue, 'running', #taken)
    answer[#answer + 1] = queue
    answer[#answer + 1] = int(execution + 1)
    answer[#answer + 1] = taken
  end
  if begun then begun(#taken) end
  write_meters()
  wanted = wanted + rest
end
if held > 0 then held_back = '1' end
answer[3], answer[4] = held_back, int(next_turn)
answer[2] = int(redis.call('HLEN', 'dagverk:rescued'))
finish()
return answer
)lua";

// Changes the places of a batch of jobs as one step. Each item names exactly where its job is (an execution in a
// node's hash, a member of a sorted set, an element of a list); a job that is not there any more is left alone. So
// nothing happens twice, and a job is never in no place and never in two. Answers with the numbers of the items that
// were left alone.
// First the sorted sets that items go to, none of which may be a key of another type. Then the groups of jobs that
// are over, without a journal row: hash, queue, count, jobs; the executions; the jids.
// Then per item `h`, `z`, `l`, `t` (a list's right end alone): key; execution or element; to (empty: out of the store;
// X: the same, by somebody's wish; L, R, Z) with its key; new element (empty: the old); score (`now`: of this moment);
// jid; what to remember of it (empty: nothing any more) with its tail and seconds; its record of rescues (empty:
// untouched, -: none); statistics (p processed, f failed; of `l`: `1` or `-1`, the end it is nearer to, and how far
// from there at most); counts; journal row.
constexpr std::string_view change_text = R"lua(
-- A script that fails halfway is not undone: what could fail is looked at first.
for _ = 1, tonumber(arg()) do
  local key = arg()
  if not is_set(key) then return redis.error_reply('WRONGTYPE ' .. key .. ' is no sorted set') end
end
local day, groups, items = arg(), tonumber(arg()), tonumber(arg())
local left_alone, number, gone = {}, 0, {}
local processed, failed, refused, ready = 0, 0, 0, 0
local rescued = redis.call('HLEN', 'dagverk:rescued') > 0
local checked = {}
-- What a stand-in stands for: see slice.
local function whole(key, member)
  local bytes, score = string.match(member, '^\30dgvX(%d+) (%S+)$')
  for _, element in ipairs(bytes and score ~= '-' and redis.call('ZRANGEBYSCORE', key, score, score) or {}) do
    if #element == tonumber(bytes) then return element end
  end
  return member
end
for _ = 1, groups do
  local key, queue, field, jobs = arg(), arg(), arg(), tonumber(arg())
  local before, over, over_keys = #gone, {}, {}
  local executions = {unpack(ARGV, at + 1, at + jobs)}
  local keys, all_there = keys_of(executions)
  if all_there then redis.call('HDEL', key, unpack(executions)) end
  for index = 1, jobs do
    if all_there or redis.call('HDEL', key, executions[index]) == 1 then
      over[#over + 1] = executions[index]
      over_keys[#over] = keys and keys[index]
      gone[#gone + 1] = ARGV[at + jobs + index]
    else
      left_alone[#left_alone + 1] = number + index
    end
  end
  number = number + jobs
  at = at + 2 * jobs
  ended(over, keys and over_keys)
  local done = #gone - before
  refused = refused + jobs - done
  count(queue, 'running', -done)
  count(queue, field, done)
  if field == 'finished' then processed = processed + done end
end
if #gone > 0 then
  forget(gone)
  free_locks(gone, 1)
  if rescued then redis.call('HDEL', 'dagverk:rescued', unpack(gone)) end
end
for index = 1, items do
  local from, key, member = arg(), arg(), arg()
  local to, to_key, element, score, jid = arg(), arg(), arg(), arg(), arg()
  local hint, tail, ttl, rescues, statistics = arg(), arg(), arg(), arg(), arg()
  local removed, wished = 0, to == 'X'
  if wished then to = '' end
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
      if removed == 1 then ended({member}, keys_of({member})) end
    elseif from == 'z' then
      member = whole(key, member)
      removed = redis.call('ZREM', key, member)
      if element == '' then element = member end
    elseif from == 't' then
      if redis.call('LINDEX', key, -1) == member then
        redis.call('RPOP', key)
        removed = 1
      end
    else
      -- From its nearer end and no farther than it was seen, lest the server scan a whole queue for nothing.
      local end_, reach = string.match(statistics, '^(%-?1) (%d+)$')
      statistics = ''
      if redis.call('LPOS', key, member, 'RANK', end_, 'MAXLEN', reach) then
        removed = redis.call('LREM', key, end_, member)
      end
      if element == '' then element = member end
    end
  end
  if removed == 0 then left_alone[#left_alone + 1] = number + index end
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
    if hint == 'q' then
      turn(tonumber(ttl))
      place(jid, tail)
    else
      forget({jid})
      if hint ~= '' then redis.call('SET', 'dagverk:job:' .. jid, hint .. score .. ' ' .. tail, 'EX', ttl) end
    end
    if to == '' then
      free_locks({jid}, wished and 2 or 1)
    elseif hint == 'd' then
      free_locks({jid}, 1)
    elseif from ~= 'h' then
      mark_element(jid, element)
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
for _, queue in pairs(checked) do
  if type(queue) == 'string' then redis.call('SADD', 'queues', queue) end
end
if refused > 0 then redis.call('HINCRBY', 'dagverk:total', 'refused', refused) end
ready = ready + woken + freed_queues()
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
return left_alone
)lua";

// Reads a part of a list (from its right end) or of a sorted set, and stops after a number of bytes: what others put
// there may be of any size. In place of what is too large for a job it shows a stand-in with its size and, in a sorted
// set, its score. Changes nothing.
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
    if #element > oversize then element = '\30dgvX' .. #element .. ' ' .. (kind == 'l' and '-' or part[2 * index]) end
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
// score of the first one that is not due (empty: none). Then what else an idle node wants to know, so that it need not
// ask: the counts of what came into queues and of journal rows, and how many of the other keys are there (queues that
// were empty). Changes nothing. Two keys, and the others; arguments: until when, count, bytes.
constexpr std::string_view peek_text = R"lua(
local answer = {}
for index = 1, 2 do
  local key = KEYS[index]
  local offset, left, size, largest = 0, tonumber(ARGV[2]), 0, 0
  local found = {}
  while left > 0 and size < tonumber(ARGV[3]) do
    local some = 1
    if largest > 0 then some = math.max(1, math.min(left, 500, math.floor((ARGV[3] - size) / (4 * largest)))) end
    local part = redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', offset, some)
    for at = 1, #part, 2 do
      local element = part[at]
      if #element > oversize then element = '\30dgvX' .. #element .. ' ' .. part[at + 1] end
      found[#found + 1] = element
      found[#found + 1] = part[at + 1]
      size = size + #element
      largest = math.max(largest, #element)
    end
    if #part < 2 * some then break end
    offset = offset + some
    left = left - some
  end
  local next_one = redis.call('ZRANGEBYSCORE', key, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  answer[2 * index - 1] = found
  answer[2 * index] = next_one[2] or ''
end
local told = redis.call('HMGET', 'dagverk:total', 'ready', 'journal')
answer[5], answer[6] = told[1] or '0', told[2] or '0'
answer[7] = #KEYS > 2 and redis.call('EXISTS', unpack(KEYS, 3)) or 0
return answer
)lua";

// Makes a node known under a number that was never used before, with a lease from now on.
// Arguments: lease in microseconds, name, detail, identity (empty: made of the number).
constexpr std::string_view node_register_text = R"lua(
local lease, name, detail, identity = tonumber(arg()), arg(), arg(), arg()
local node = int(redis.call('INCR', 'dagverk:seq'))
if identity == '' then identity = 'node:' .. node end
redis.call('HSET', 'dagverk:node:' .. node, 'lease', int(now + lease), 'registered', int(now), 'name', name,
           'detail', detail, 'identity', identity)
redis.call('SADD', 'dagverk:nodes', node)
redis.call('SADD', 'processes', identity)
return node
)lua";

// One heartbeat as one step: prolongs the lease, unless somebody has found the node dead (answered with nothing), tells
// Sidekiq's readers what the node is and runs, and answers with the number and the names of the signals that the node
// has not seen yet. A signal stays in the node's hash until a heartbeat names the number it was told with.
// Arguments: node, lease in microseconds, whether there is a new detail, the detail, the number last seen, seconds
// after which the keys expire, info, concurrency, busy, round trip in microseconds, quiet, resident KiB; pairs of
// worker and job.
constexpr std::string_view node_beat_text = R"lua(
local node, lease, given, detail, seen, ttl = arg(), tonumber(arg()), arg(), arg(), arg(), arg()
local key = 'dagverk:node:' .. node
local old, id, told, number = unpack(redis.call('HMGET', key, 'lease', 'identity', 'signals', 'signals_number'))
if not old or old == '0' then return {} end
redis.call('HSET', key, 'lease', int(now + lease))
if given == '1' then redis.call('HSET', key, 'detail', detail) end
redis.call('SADD', 'processes', id)
redis.call('HSET', id, 'info', arg(), 'concurrency', arg(), 'busy', arg(), 'rtt_us', arg(), 'quiet', arg(),
           'rss', arg(), 'beat', string.format('%.6f', now / 1000000), 'dagverk', node)
redis.call('EXPIRE', id, ttl)
for _, work in ipairs({id .. ':work', id .. ':workers'}) do -- Sidekiq reads the second up to 6.4.1
  redis.call('UNLINK', work)
  if at < #ARGV then
    redis.call('HSET', work, unpack(ARGV, at + 1))
    redis.call('EXPIRE', work, ttl)
  end
end
if not told or number == seen then told = '' end
local new = redis.call('RPOP', id .. '-signals', 100)
if new then
  for _, name in ipairs(new) do
    if string.find(name, '^%u+$') and #told < 1000 then told = told .. ' ' .. name end
  end
end
if told == '' then
  if number then redis.call('HDEL', key, 'signals') end
  return {number or '0', told}
end
number = int((number or 0) + 1)
redis.call('HSET', key, 'signals', told, 'signals_number', number)
return {number, told}
)lua";

// Sends a signal to a process, ours or Sidekiq's: 1 done, 0 nobody of that identity is there.
// Arguments: identity, signal, how many may wait, seconds after which they expire.
constexpr std::string_view node_signal_text = R"lua(
local id, name, limit, ttl = arg(), arg(), arg(), arg()
if redis.call('SISMEMBER', 'processes', id) == 0 then return 0 end
local key = id .. '-signals'
redis.call('LPUSH', key, name)
redis.call('LTRIM', key, 0, limit - 1)
redis.call('EXPIRE', key, ttl)
return 1
)lua";

// What a node leaves to Sidekiq's readers goes with it, unless it is that of a later registration.
constexpr std::string_view leave_text = R"lua(
local function leave(key, node)
  local id = redis.call('HGET', key, 'identity')
  if not id then return end
  local owner = redis.call('HGET', id, 'dagverk')
  if owner and owner ~= node then return end
  redis.call('SREM', 'processes', id)
  redis.call('UNLINK', id, id .. ':work', id .. ':workers', id .. '-signals')
end
)lua";

// Ends a node in order: its jobs go back to the front of their queues in one step, at most 1000; of more, the rest is
// left to whoever rescues next. Answers how many, -1 when there is no such node. Argument: node.
constexpr std::string_view node_retire_text = R"lua(
local node = arg()
local key, run = 'dagverk:node:' .. node, 'dagverk:run:' .. node
if redis.call('EXISTS', key) == 0 then return -1 end
leave(key, node)
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
    ended({execution}, keys_of({execution}))
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
leave('dagverk:node:' .. node, node)
redis.call('DEL', 'dagverk:node:' .. node)
redis.call('SREM', 'dagverk:nodes', node)
return 1
)lua";

// Pauses a queue everywhere: in the set where Sidekiq's queue summary looks, with who, why and since in a hash of ours.
// 1 done, 0 it is paused already. Arguments: queue, by, reason.
constexpr std::string_view queue_pause_text = R"lua(
local queue, by, reason = arg(), arg(), arg()
if redis.call('SISMEMBER', 'queues', queue) == 0 then
  if redis.call('SCARD', 'queues') >= 10000 then
    return redis.error_reply('REFUSED there are 10000 queues already')
  end
  redis.call('SADD', 'queues', queue)
end
if redis.call('SADD', 'paused', queue) == 0 then return 0 end
redis.call('HSET', 'dagverk:paused', queue, int(now) .. ' ' .. #by .. ' ' .. by .. reason)
return 1
)lua";

// Ends a pause, whoever began it, and tells those who wait for jobs: 1 done, 0 it was not paused. Argument: queue.
constexpr std::string_view queue_resume_text = R"lua(
local queue = arg()
redis.call('HDEL', 'dagverk:paused', queue)
if redis.call('SREM', 'paused', queue) == 0 then return 0 end
redis.call('HINCRBY', 'dagverk:total', 'ready', 1)
return 1
)lua";

// What takes jobs out, or keeps a node alive, must run although the server's memory is full; what puts jobs in must
// not. A server before 7.0 cannot be asked: it refuses a script's first command that takes memory, but none that comes
// after one that changes something. So such a script begins with one that changes nothing.
constexpr std::string_view allow_oom = "#!lua flags=allow-oom\n";
constexpr std::string_view allow_oom_before_7 = "redis.call('DEL', 'dagverk:none')\n";

net::RedisScript script(std::string_view text, bool may_drain, bool drains, bool changes = true,
                        std::string_view quick = {}) {
  const std::string_view first = !drains ? std::string_view() : may_drain ? allow_oom : allow_oom_before_7;
  return net::RedisScript(concat(first, "local oversize = ", element_size_limit, "\n", quick,
                                 changes ? prelude : std::string_view(), text));
}

}  // namespace

net::RedisScript changing_script(std::string_view text, bool may_drain, bool drains) {
  return script(text, may_drain, drains);
}

std::string_view jids_source() { return jids_text; }
std::string enqueue_source() { return concat(jids_text, admission_text, "local heed_bounds = false\n", enqueue_text); }
std::string admission_source() { return concat(jids_text, admission_text); }

Scripts::Scripts(bool may_drain)
    : enqueue(script(concat(jids_text, admission_text, "local heed_bounds = true\n", enqueue_text), may_drain, false)),
      restore(script(concat(jids_text, admission_text, restore_text), may_drain, false)),
      take(script(concat(jids_text, unique_source(), limits_source(), holding_source(), take_text), may_drain, true,
                  true, quick_take_source())),
      change(script(concat(jids_text, unique_source(), limits_source(), change_text), may_drain, true, true,
                    quick_change_source())),
      slice(script(slice_text, may_drain, false, false)),
      peek(script(peek_text, may_drain, false, false)),
      node_register(script(node_register_text, may_drain, true)),
      node_beat(script(node_beat_text, may_drain, true)),
      node_signal(script(node_signal_text, may_drain, true)),
      node_retire(script(concat(jids_text, limits_source(), leave_text, node_retire_text), may_drain, true)),
      nodes_condemn(script(nodes_condemn_text, may_drain, true)),
      node_forget(script(concat(leave_text, node_forget_text), may_drain, true)),
      queue_pause(script(queue_pause_text, may_drain, true)),
      queue_resume(script(queue_resume_text, may_drain, true)) {}

}  // namespace dagverk::stores::redis
