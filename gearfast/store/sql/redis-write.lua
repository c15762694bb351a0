-- One write: all of it or nothing. A script is not undone when it fails, so all that may be wrong is looked at first.
-- KEYS: state, sections, records, ended, losses, notes, servers, claims. ARGV: token, batch, next number, how many there are of
-- each of dropped, added, ended, lost, forgotten, noted and erased, this server, how many there are of claimed and
-- released, then these. Numbers stay text, since those of Lua have 53 bits.
-- Claims are kept by the first part of their keys: of each the second part, a colon, its job and a space. If one is
-- another job's nothing is done, and the answer is a list: of each such job its number and that of the other one.
local me = ARGV[11]
if redis.call('HGET', KEYS[7], me .. ':token') ~= ARGV[1] or redis.call('HGET', KEYS[7], me .. ':gone') ~= '0' then
    return redis.error_reply('FENCED another server has taken it over')
end
local at = 14
local function take(count, width)
    local first = at
    at = at + count * width
    return first, at - 1, width
end

local dropped_from, dropped_to = take(tonumber(ARGV[4]), 1)
local added_from, added_to = take(tonumber(ARGV[5]), 3)
local ended_from, ended_to = take(tonumber(ARGV[6]), 2)
local lost_from, lost_to = take(tonumber(ARGV[7]), 2)
local forgotten_from, forgotten_to = take(tonumber(ARGV[8]), 1)
local noted_from, noted_to = take(tonumber(ARGV[9]), 2)
local erased_from, erased_to = take(tonumber(ARGV[10]), 1)
local claimed_from, claimed_to = take(tonumber(ARGV[12]), 3)
local released_from, released_to = take(tonumber(ARGV[13]), 3)

local free, taken = {}, {}
for i = dropped_from, dropped_to do
    free[ARGV[i]] = true
end
for i = added_from, added_to, 3 do
    local id = ARGV[i]
    if taken[id] or (not free[id] and redis.call('HEXISTS', KEYS[2], id) == 1) then
        return redis.error_reply('TAKEN section ' .. id .. ' is there already')
    end
    taken[id] = true
end

local claims, others = {}, {}
local function claims_of(first)
    claims[first] = claims[first] or redis.call('HGET', KEYS[8], first) or ''
    return claims[first]
end
for i = released_from, released_to, 3 do
    local had = ARGV[i + 1] .. ':' .. ARGV[i + 2] .. ' '
    claims[ARGV[i]] = string.gsub(claims_of(ARGV[i]), had, '')
end
for i = claimed_from, claimed_to, 3 do
    local known = claims_of(ARGV[i])
    local other = string.match(known, ARGV[i + 1] .. ':(%d+) ')
    if not other then
        claims[ARGV[i]] = known .. ARGV[i + 1] .. ':' .. ARGV[i + 2] .. ' '
    elseif other ~= ARGV[i + 2] then
        others[#others + 1] = ARGV[i + 2]
        others[#others + 1] = other
    end
end
if #others > 0 then
    return others
end

-- When memory is full it is the first writing command of a script that decides: HSET is refused, and so is the script,
-- while HDEL is not. So jobs can end, which makes room, but none can be added.
if added_from > added_to then
    redis.call('HDEL', KEYS[1], 'nothing')
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ends = now + tonumber(redis.call('HGET', KEYS[7], me .. ':lease'))
redis.call('HSET', KEYS[7], me .. ':batch', ARGV[2], me .. ':next_number', ARGV[3],
    me .. ':renewed', string.format('%.0f', now), me .. ':ends', string.format('%.0f', ends))
for i = dropped_from, dropped_to do
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('HDEL', KEYS[4], ARGV[i])
end
for i = added_from, added_to, 3 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 2])
end
for i = ended_from, ended_to, 2 do
    redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
for i = lost_from, lost_to, 2 do
    redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1])
end
for i = forgotten_from, forgotten_to do
    redis.call('HDEL', KEYS[5], ARGV[i])
end
for i = noted_from, noted_to, 2 do
    redis.call('HSET', KEYS[6], ARGV[i], ARGV[i + 1])
end
for i = erased_from, erased_to do
    redis.call('HDEL', KEYS[6], ARGV[i])
end
for first, text in pairs(claims) do
    if text == '' then
        redis.call('HDEL', KEYS[8], first)
    else
        redis.call('HSET', KEYS[8], first, text)
    end
end
return 'OK'
