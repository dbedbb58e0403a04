#include "stores/redis/scripts_quick.hpp"

namespace dagverk::stores::redis {

namespace {

// No limits, no keys to be freed by a start, no journal; and elements that are just payloads: they begin with no
// envelope and end with no mark. Anything else is put back as it was.
constexpr std::string_view take_text = R"lua(
local function quick()
  local call, byte, format = redis.call, string.byte, string.format
  if ARGV[2] ~= '0' or call('EXISTS', 'dagverk:limits', 'dagverk:unique:elements') > 0 then return nil end
  local now = tonumber(ARGV[1])
  if now == 0 then
    local time = call('TIME')
    now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  local lease = call('HGET', 'dagverk:node:' .. ARGV[3], 'lease')
  if not lease or tonumber(lease) < now then return nil end
  local wanted, bytes, largest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
  local paused = redis.pcall('SMISMEMBER', 'paused', unpack(ARGV, 8))
  local size, pops, batches = 0, {}, {}
  for index = 8, #ARGV do
    if wanted == 0 or size >= bytes then break end
    local batch = {queue = ARGV[index], skipped = paused[index - 7] == 1}
    local key = 'queue:' .. batch.queue
    batches[#batches + 1] = batch
    while wanted > 0 and size < bytes and not batch.skipped do
      local some = 1
      if largest > 0 then some = math.max(1, math.min(wanted, 100, math.floor((bytes - size) / (4 * largest)))) end
      local popped = redis.pcall('RPOP', key, some)
      if not popped or popped.err or #popped == 0 then break end
      pops[#pops + 1] = {key, popped}
      for _, element in ipairs(popped) do
        local length = #element
        if length > oversize or size >= bytes or byte(element) == 30 or byte(element, -1) ~= 125 then
          for pop = #pops, 1, -1 do
            for back = #pops[pop][2], 1, -1 do call('RPUSH', pops[pop][1], pops[pop][2][back]) end
          end
          return nil
        end
        size = size + length
        if length > largest then largest = length end
        if batch.jobs then batch.jobs[#batch.jobs + 1] = element end
      end
      batch.jobs = batch.jobs or popped
      wanted = wanted - #popped
      if #popped < some then break end
    end
  end
  local started = format('%d', now)
  local answer = {started, call('EXISTS', 'dagverk:rescued') == 1 and '1' or '0', '0', '0'}
  for _, batch in ipairs(batches) do
    local queue, jobs = batch.queue, batch.jobs
    local execution = 0
    if jobs then
      execution = call('INCRBY', 'dagverk:seq', #jobs) - #jobs
      local head = started .. ' ' .. #queue .. ' ' .. queue
      local fields = {}
      for position, element in ipairs(jobs) do
        fields[2 * position - 1] = format('%d', execution + position)
        fields[2 * position] = head .. element
      end
      call('HSET', 'dagverk:run:' .. ARGV[3], unpack(fields))
      call('HINCRBY', 'dagverk:q:' .. queue, 'running', #jobs)
      execution = execution + 1
    end
    if jobs or batch.skipped then
      answer[#answer + 1] = queue
      answer[#answer + 1] = format('%d', execution)
      answer[#answer + 1] = jobs or {}
    end
  end
  return answer
end
local quick_answer = quick()
if quick_answer then return quick_answer end
)lua";

// Nothing but groups of runs that are over, while no limits are there and no keys are held. Each is deleted by itself:
// one command for all would not tell which ones were there.
constexpr std::string_view change_text = R"lua(
local function quick()
  local call = redis.call
  if ARGV[3] ~= '0' or ARGV[6] ~= '0' or
     call('EXISTS', 'dagverk:limits', 'dagverk:limit:runs', 'dagverk:unique:held') > 0 then return nil end
  local rescued = call('EXISTS', 'dagverk:rescued') == 1
  local last, number, left_alone, processed = 6, 0, {}, 0
  for _ = 1, tonumber(ARGV[5]) do
    local key, queue, field, jobs = ARGV[last + 1], ARGV[last + 2], ARGV[last + 3], tonumber(ARGV[last + 4])
    local first, gone = last + 4, {}
    last = first + 2 * jobs
    for index = 1, jobs do
      if call('HDEL', key, ARGV[first + index]) == 1 then
        gone[#gone + 1] = ARGV[first + jobs + index]
      else
        left_alone[#left_alone + 1] = number + index
      end
    end
    number = number + jobs
    if #gone > 0 then
      if call('HDEL', 'dagverk:jids', unpack(gone)) < #gone then
        call('HDEL', 'dagverk:jids:before', unpack(gone))
        local keys = {}
        for index, jid in ipairs(gone) do keys[index] = 'dagverk:job:' .. jid end
        call('DEL', unpack(keys))
      end
      if rescued then call('HDEL', 'dagverk:rescued', unpack(gone)) end
      call('HINCRBY', 'dagverk:q:' .. queue, 'running', -#gone)
      call('HINCRBY', 'dagverk:q:' .. queue, field, #gone)
      if field == 'finished' then processed = processed + #gone end
    end
  end
  if #left_alone > 0 then call('HINCRBY', 'dagverk:total', 'refused', #left_alone) end
  if processed > 0 then
    call('INCRBY', 'stat:processed', processed)
    local day = 'stat:processed:' .. ARGV[4]
    if call('INCRBY', day, processed) == processed then call('EXPIRE', day, 157680000) end
  end
  return left_alone
end
local quick_answer = quick()
if quick_answer then return quick_answer end
)lua";

}  // namespace

std::string_view quick_take_source() { return take_text; }
std::string_view quick_change_source() { return change_text; }

}  // namespace dagverk::stores::redis
