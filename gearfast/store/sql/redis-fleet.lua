-- Who is there, and who has what. KEYS: state, servers, owners. ARGV: what to do, this server, its token, then as below.
-- Of a server there are in `servers`, with its number and a colon before them: token, gone (who took its jobs over,
-- itself if it has left, else 0), batch and next_number (empty at first), lease, renewed and ends (ms), jobs, about.
-- `owners` has for each range of ids and numbers, by the number of the server whose it was first, whose it is now.
local what, me, token = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function set(id, ...)
    local pairs_of, words = {...}, {}
    for i = 1, #pairs_of, 2 do
        words[i] = id .. ':' .. pairs_of[i]
        words[i + 1] = type(pairs_of[i + 1]) == 'number' and string.format('%.0f', pairs_of[i + 1]) or pairs_of[i + 1]
    end
    redis.call('HSET', KEYS[2], unpack(words))
end

local function all()
    local servers, fields = {}, redis.call('HGETALL', KEYS[2])
    for i = 1, #fields, 2 do
        local id, name = string.match(fields[i], '^(%d+):(.*)$')
        servers[id] = servers[id] or {}
        servers[id][name] = fields[i + 1]
    end
    return servers
end

local known = redis.call('HGET', KEYS[2], me .. ':token')
if what == 'return' and known and tonumber(known) < tonumber(token) then
    known = token
end
if what ~= 'enter' and (known ~= token or redis.call('HGET', KEYS[2], me .. ':gone') ~= '0') then
    return redis.error_reply('FENCED another server has taken it over')
end
redis.call('HDEL', KEYS[1], 'nothing')  -- first, so that all of this goes when memory is full: see redis-write.lua

if what == 'enter' then
    -- least number, lease, prefix, about, version
    redis.call('HSETNX', KEYS[1], 'last_server', ARGV[4])
    redis.call('HSETNX', KEYS[1], 'prefix', ARGV[6])
    redis.call('HSET', KEYS[1], 'version', ARGV[8])
    redis.call('HDEL', KEYS[1], 'token', 'owner', 'client', 'run', 'batch', 'next_number')  -- of before version 2
    redis.call('HSETNX', KEYS[3], '0', '0')
    for id, server in pairs(all()) do
        if server.gone ~= '0' and tonumber(server.renewed) < now - 86400000 then
            for name in pairs(server) do
                redis.call('HDEL', KEYS[2], id .. ':' .. name)
            end
        end
    end
    me = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'last_server', 1))
    local lease = tonumber(ARGV[5])
    set(me, 'token', '1', 'gone', '0', 'batch', '', 'next_number', '', 'lease', lease, 'renewed', now,
        'ends', now + lease, 'jobs', '0', 'about', ARGV[7])
    redis.call('HSET', KEYS[3], me, me)
    return me
elseif what == 'return' then
    -- lease; the token is a new one, above all that it had
    local lease = tonumber(ARGV[4])
    set(me, 'token', token, 'lease', lease, 'renewed', now, 'ends', now + lease)
elseif what == 'renew' then
    -- jobs, about
    local lease = tonumber(redis.call('HGET', KEYS[2], me .. ':lease'))
    set(me, 'renewed', now, 'ends', now + lease, 'jobs', ARGV[4], 'about', ARGV[5])
elseif what == 'take' then
    -- dead servers; returns the ranges that come
    local dead, taken, servers, owners = {}, {}, all(), redis.call('HGETALL', KEYS[3])
    for i = 4, #ARGV do
        dead[ARGV[i]] = true
    end
    for id, server in pairs(servers) do
        if server.gone == '0' and id ~= me and (tonumber(server.ends) < now or dead[id]) then
            set(id, 'gone', me)
            server.gone = me
        end
    end
    for i = 1, #owners, 2 do
        local owner = servers[owners[i + 1]]
        if not owner or owner.gone ~= '0' then
            redis.call('HSET', KEYS[3], owners[i], me)
            taken[#taken + 1] = owners[i]
        end
    end
    return taken
elseif what == 'drop' then
    -- ranges of this server with nothing in them
    for i = 4, #ARGV do
        if redis.call('HGET', KEYS[3], ARGV[i]) == me then
            redis.call('HDEL', KEYS[3], ARGV[i])
        end
    end
elseif what == 'leave' then
    set(me, 'gone', me)
end
return 'OK'
