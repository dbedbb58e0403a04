#include "stores/redis/scripts_unique.hpp"

#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::stores::redis {

namespace {

// A held key is `UNTIL TAKEN EXPIRES JID` in the hash `dagverk:unique` (UNTIL: 0 started, 1 done, 2 period; times in
// microseconds), has its end in the sorted set `dagverk:unique:expires`, and stands as `SHA KEY` under its jid in the
// hash `dagverk:unique:held`, which is there while any key is held. SHA is empty but for keys held until their job is
// started: those have the digest of the job's element in the hash `dagverk:unique:elements`, with the jid, since who
// takes jobs sees elements alone. `free_locks` frees what jobs hold that were taken (0), are over (1), or were deleted
// or cancelled (2): see jobs::lock_freed_by. `mark_element` says that a waiting job has another element now.
constexpr std::string_view unique_text = R"lua(
local held_there, elements_there
local function some_held()
  if held_there == nil then held_there = redis.call('EXISTS', 'dagverk:unique:held') == 1 end
  return held_there
end
local function some_unstarted()
  if elements_there == nil then elements_there = redis.call('EXISTS', 'dagverk:unique:elements') == 1 end
  return elements_there
end
local function read_lock(key)
  local lock = redis.call('HGET', 'dagverk:unique', key)
  if not lock then return nil end
  local long, taken, expires, jid = string.match(lock, '^(%d) (%-?%d+) (%-?%d+) (.*)$')
  return tonumber(long), tonumber(taken), tonumber(expires), jid
end
local function write_lock(key, long, taken, expires, jid)
  redis.call('HSET', 'dagverk:unique', key, int(long) .. ' ' .. int(taken) .. ' ' .. int(expires) .. ' ' .. jid)
  redis.call('ZADD', 'dagverk:unique:expires', int(expires), key)
end
local function forget_held(jid, held)
  redis.call('HDEL', 'dagverk:unique:held', jid)
  local sha = string.match(held, '^%x+')
  if sha then redis.call('HDEL', 'dagverk:unique:elements', sha) end
end
local function drop_lock(key, jid)
  redis.call('HDEL', 'dagverk:unique', key)
  redis.call('ZREM', 'dagverk:unique:expires', key)
  local held = jid and redis.call('HGET', 'dagverk:unique:held', jid)
  if held and string.match(held, '^%x* (.*)$') == key then forget_held(jid, held) end
end
local function free_locks(jids, what)
  if #jids == 0 or not some_held() then return end
  local keys, holders, shas = {}, {}, {}
  local helds = redis.call('HMGET', 'dagverk:unique:held', unpack(jids))
  for index = 1, #helds do
    local held = helds[index]
    local blank = held and string.find(held, ' ', 1, true)
    if blank then
      local place = #keys + 1
      shas[place] = blank > 1 and string.sub(held, 1, blank - 1)
      keys[place] = string.sub(held, blank + 1)
      holders[place] = jids[index]
    end
  end
  if #keys == 0 then return end
  local dropped, forgotten, started = {}, {}, {}
  local locks = redis.call('HMGET', 'dagverk:unique', unpack(keys))
  for place = 1, #locks do
    -- Its holder is what follows the third blank: patterns cost more than all the rest here.
    local lock = locks[place]
    local second = lock and string.find(lock, ' ', 3, true)
    local third = second and string.find(lock, ' ', second + 1, true)
    local its_own = third and string.sub(lock, third + 1) == holders[place]
    local freed = its_own and string.byte(lock) <= 48 + what
    if freed then dropped[#dropped + 1] = keys[place] end
    if not its_own or freed then
      forgotten[#forgotten + 1] = holders[place]
      if shas[place] then started[#started + 1] = shas[place] end
    end
  end
  if #dropped > 0 then
    redis.call('HDEL', 'dagverk:unique', unpack(dropped))
    redis.call('ZREM', 'dagverk:unique:expires', unpack(dropped))
  end
  if #forgotten > 0 then redis.call('HDEL', 'dagverk:unique:held', unpack(forgotten)) end
  if #started > 0 then redis.call('HDEL', 'dagverk:unique:elements', unpack(started)) end
end
local function free_started(elements)
  if #elements == 0 or not some_unstarted() then return end
  local digests, started = {}, {}
  for index, element in ipairs(elements) do digests[index] = redis.sha1hex(element) end
  for _, jid in ipairs(redis.call('HMGET', 'dagverk:unique:elements', unpack(digests))) do
    if jid then started[#started + 1] = jid end
  end
  free_locks(started, 0)
end
local function mark_element(jid, element)
  if not some_unstarted() then return end
  local sha, key = string.match(redis.call('HGET', 'dagverk:unique:held', jid) or '', '^(%x+) (.*)$')
  if not sha then return end
  local digest = redis.sha1hex(element)
  redis.call('HDEL', 'dagverk:unique:elements', sha)
  redis.call('HSET', 'dagverk:unique:elements', digest, jid)
  redis.call('HSET', 'dagverk:unique:held', jid, digest .. ' ' .. key)
end
)lua";

// For what asks who holds a key now. One taken before the clock was put back begins anew.
constexpr std::string_view holder_text = R"lua(
local function holder_of(key)
  local long, taken, expires, jid = read_lock(key)
  if not jid then return nil end
  if now < taken then
    expires = now + (expires - taken)
    write_lock(key, long, now, expires, jid)
  end
  if expires > now then return jid end
  drop_lock(key, jid)
  return nil
end
)lua";

// For what puts jobs in one by one: the bounds of queues, see scripts_limits.cpp.
constexpr std::string_view bounds_text = R"lua(
local bounds, bounds_met = {}, false
local function bound_of(queue)
  if not bounded then return nil end
  if bounds[queue] == nil then
    local most, rule, to = string.match(redis.call('HGET', 'dagverk:bounds', queue) or '', '^(%d+) (%a) ?(.*)$')
    bounds[queue] = most and {most = tonumber(most), drops = rule == 'd', to = rule == 'v' and to or nil} or false
    bounds_met = bounds_met or most ~= nil
  end
  return bounds[queue] or nil
end
local function jid_of(element)
  local _, last, size = string.find(element, '^\30dgv1[jnJN] %-?%d+ (%d+) %d+ %d+ ')
  if last then
    local key = string.find(string.sub(element, 6, 6), '%u') and string.match(element, '^%d+ ', last + 1) or ''
    last = last + #key
    return string.sub(element, last + 1, last + tonumber(size))
  end
  local read, job = pcall(cjson.decode, element)
  return read and type(job) == 'table' and type(job.jid) == 'string' and job.jid or nil
end
)lua";

// Enqueues a batch in which jobs have unique keys, or queues have bounds, as one step. Whose key another job holds
// stays out, or pushes that one aside; where the other one waits is for the caller to find. If that is not known of
// one of them, or is so no longer, nothing has changed, and the answer is 0, then the numbers of those jobs and who
// holds their keys. Nor has it when some may have to go into another queue, and their elements of there are not among
// the arguments: 3, then the numbers of those jobs and the queues. Else it is 1, or 2 when none of their queues has a
// bound; then for each job 0 duplicate, 1 done, 2 another holds its key, 3 the other one has its time now, 4 its
// queue is full.
// Arguments: seconds to remember a jid, jobs. Per job: jid, queue, element, score (empty: now), seconds to remember the
// jid where it waits, whether to write a row, class, detail; key (empty: none), until, expiry in microseconds, conflict
// (f refuse, p replace, s reschedule), detail of the row of the one pushed aside, who that is (empty: not known yet);
// and if it is known: `l` list or `z` set with its key, element, where in the list (see change), queue, class, whether
// to write a row. Then the queue into which it may be diverted (empty: none), and if there is one its element there.
constexpr std::string_view enqueue_text = R"lua(
local memory, count_of_jobs = tonumber(arg()), tonumber(arg())
local jobs, needs, diverts = {}, {0}, {3}
turn(memory)
local function waits(spot)
  if spot.kind == 'z' then return redis.call('ZSCORE', spot.key, spot.element) end
  local end_, reach = string.match(spot.near, '^(%-?1) (%d+)$')
  return redis.call('LPOS', spot.key, spot.element, 'RANK', end_, 'MAXLEN', reach)
end
for number = 1, count_of_jobs do
  local job = {}
  job.jid, job.queue, job.element, job.score = arg(), arg(), arg(), arg()
  job.ttl, job.told, job.class, job.detail = arg(), arg() == '1', arg(), arg()
  job.key, job.long, job.expiry, job.conflict = arg(), tonumber(arg()), tonumber(arg()), arg()
  job.aside, job.other = arg(), arg()
  if job.other ~= '' then
    local spot = {}
    spot.kind, spot.key, spot.element, spot.near = arg(), arg(), arg(), arg()
    spot.queue, spot.class, spot.told = arg(), arg(), arg() == '1'
    job.spot = spot
  end
  job.elsewhere = arg()
  if job.elsewhere ~= '' then job.element_there = arg() end
  jobs[number] = job
  local refused = job.score ~= '' and admit_set('schedule') or admit(job.queue)
  if not refused and job.spot and job.conflict == 's' and job.score == '' then refused = admit(job.spot.queue) end
  local bound = not refused and job.score == '' and bound_of(job.queue)
  if bound and bound.to then
    refused = admit(bound.to)
    -- All that come before it may have gone there.
    if redis.call('LLEN', 'queue:' .. job.queue) + number > bound.most and job.elsewhere ~= bound.to then
      diverts[#diverts + 1] = number
      diverts[#diverts + 1] = bound.to
    end
  end
  if refused then return refused end
  if job.key ~= '' and job.conflict ~= 'f' and not known(job.jid) then
    local _, taken, expires, holder = read_lock(job.key)
    if holder and holder ~= job.jid and (expires > now or taken > now) then
      if job.other ~= holder or not waits(job.spot) then
        needs[#needs + 1] = number
        needs[#needs + 1] = holder
      end
    end
  end
end
if #needs > 1 then return needs end
if #diverts > 1 then return diverts end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', 'dagverk:unique:expires', '-inf', int(now), 'LIMIT', 0, 2 * count_of_jobs + 10)) do
  holder_of(key)
end
local outcomes, duplicates, locked, fresh = {bounds_met and 1 or 2}, 0, 0, {}
-- Where a job waits, whose jid is in none of its places.
local function file(jid, queue, element, score, ttl, class, told)
  if score == '' then
    put_in(queue, {element}, 1, 1)
    place(jid, queue)
    fresh[jid] = {kind = 'l', key = 'queue:' .. queue, near = '1 1000', element = element}
  else
    redis.call('ZADD', 'schedule', score, element)
    redis.call('SET', 'dagverk:job:' .. jid, 's' .. score .. ' ' .. queue, 'EX', ttl)
    count(queue, 'scheduled', 1)
    fresh[jid] = {kind = 'z', key = 'schedule', element = element}
  end
  fresh[jid].queue, fresh[jid].class, fresh[jid].told = queue, class, told
end
local function take_out(spot)
  if spot.kind == 'z' then
    if redis.call('ZREM', spot.key, spot.element) == 0 then return false end
    count(spot.queue, spot.key == 'retry' and 'retrying' or 'scheduled', -1)
    return true
  end
  local end_ = string.match(spot.near, '^%-?1')
  return redis.call('LREM', spot.key, end_, spot.element) == 1
end
local function spot_of(job, holder) return fresh[holder] or (job.other == holder and job.spot) end
local function push_aside(job, holder)
  local spot = spot_of(job, holder)
  if job.conflict == 'f' or not spot then return 2 end
  local to_queue = job.conflict == 's' and job.score == ''
  if to_queue and spot.kind == 'l' then return 3 end
  if not take_out(spot) then return 2 end
  forget({holder})
  if job.conflict == 'p' then
    drop_lock(job.key, holder)
    redis.call('HDEL', 'dagverk:rescued', holder)
    fresh[holder] = nil
    count(spot.queue, 'deleted', 1)
    if spot.told then journal(13, spot.queue, 'j', holder, 'c', spot.class, 'd', job.aside) end
    return 1
  end
  file(holder, spot.queue, spot.element, job.score, job.ttl, spot.class, spot.told)
  if spot.told then journal(to_queue and 11 or 2, spot.queue, 'j', holder, 'c', spot.class, 'd', job.aside) end
  return 3
end
-- Where a job goes, its element there, and whether one is dropped for it; nothing: its queue is full.
local function way_in(job, replaced)
  local queue, element = job.queue, job.element
  if job.score ~= '' then return queue, element, false end
  for step = 1, 2 do
    local bound = bound_of(queue)
    local makes_room = replaced and replaced.kind == 'l' and replaced.queue == queue
    if not bound or makes_room or redis.call('LLEN', 'queue:' .. queue) < bound.most then return queue, element, false end
    if bound.drops then return queue, element, true end
    if step == 2 or not bound.to or bound.to ~= job.elsewhere then return nil end
    queue, element = job.elsewhere, job.element_there
  end
end
local function drop_oldest(queue, reason)
  local element = redis.call('RPOP', 'queue:' .. queue)
  if not element then return end
  local jid = jid_of(element)
  if jid then
    forget({jid})
    free_locks({jid}, 2)
    redis.call('HDEL', 'dagverk:rescued', jid)
    fresh[jid] = nil
  end
  count(queue, 'discarded', 1)
  count(queue, 'dropped', 1)
  if told(element) then journal(20, queue, 'x', element, 'd', cjson.encode({['for'] = reason})) end
end
for number, job in ipairs(jobs) do
  local outcome = 1
  local holder = job.key ~= '' and holder_of(job.key)
  if holder == job.jid or known(job.jid) then
    outcome = 0
    duplicates = duplicates + 1
  end
  local replaced = outcome == 1 and holder and job.conflict == 'p' and spot_of(job, holder) or nil
  local queue, element, drops = job.queue, job.element, false
  if outcome == 1 and (replaced or not holder) then
    queue, element, drops = way_in(job, replaced)
    if not queue then outcome = 4 end
  end
  if outcome == 1 and holder then
    outcome = push_aside(job, holder)
    if outcome == 2 then locked = locked + 1 end
  end
  if outcome == 4 then count(job.queue, 'refused', 1) end
  if outcome == 1 then
    if drops then drop_oldest(queue, job.jid) end
    file(job.jid, queue, element, job.score, job.ttl, job.class, job.told)
    count(queue, 'enqueued', 1)
    if job.told then journal(job.score == '' and 1 or 2, queue, 'j', job.jid, 'c', job.class, 'd', job.detail) end
    if queue ~= job.queue then
      count(job.queue, 'diverted', 1)
      if job.told then journal(21, queue, 'j', job.jid, 'c', job.class, 'd', cjson.encode({from = job.queue})) end
    end
    if job.key ~= '' then
      write_lock(job.key, job.long, now, now + job.expiry, job.jid)
      local sha = ''
      if job.long == 0 then
        sha = redis.sha1hex(element)
        redis.call('HSET', 'dagverk:unique:elements', sha, job.jid)
        elements_there = true
      end
      redis.call('HSET', 'dagverk:unique:held', job.jid, sha .. ' ' .. job.key)
      held_there = true
    end
  end
  outcomes[number + 1] = outcome
end
if locked > 0 then redis.call('HINCRBY', 'dagverk:total', 'locked', locked) end
done(duplicates)
return outcomes
)lua";

// Held keys with what `dagverk:unique` says of them, those first that expire first. Arguments: the key behind which to
// go on, if it is still there; else the score behind which to; how many.
constexpr std::string_view list_text = R"lua(
local key, score, limit = arg(), arg(), tonumber(arg())
local rank = redis.call('ZRANK', 'dagverk:unique:expires', key)
rank = rank and rank + 1 or redis.call('ZCOUNT', 'dagverk:unique:expires', '-inf', score)
local answer = {}
for _, found in ipairs(redis.call('ZRANGE', 'dagverk:unique:expires', rank, rank + limit - 1)) do
  answer[#answer + 1] = found
  answer[#answer + 1] = redis.call('HGET', 'dagverk:unique', found) or ''
end
return answer
)lua";

// 1 done, 0 nobody held it. Argument: key.
constexpr std::string_view release_text = R"lua(
local key = arg()
local holder = holder_of(key)
if not holder then return 0 end
drop_lock(key, holder)
return 1
)lua";

}  // namespace

std::string_view unique_source() { return unique_text; }

UniqueScripts::UniqueScripts(bool may_drain)
    : enqueue(changing_script(concat(admission_source(), unique_text, holder_text, bounds_text, enqueue_text),
                              may_drain, false)),
      list(changing_script(list_text, may_drain, true)),
      release(changing_script(concat(unique_text, holder_text, release_text), may_drain, true)) {}

}  // namespace dagverk::stores::redis
