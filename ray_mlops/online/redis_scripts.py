"""What Redis does by itself, atomically: append to the logs of entities and hand out what the caller has not read yet.

A log is one string: 8 bytes that change whenever it is rewritten (its generation), the length of the snapshot, the
snapshot, the entries. A record is a hash: `t` head of the event, `k` the logs its label goes to, `p` how far those logs
had come when it was observed, `a` the answer, `y` the label. Redis knows nothing of windows: it moves bytes.
"""

_LOGS = """
local function extend(key, entry, generation, ttl)
  if redis.call('EXISTS', key) == 0 then redis.call('SET', key, generation .. string.rep('\\0', 8)) end
  redis.call('APPEND', key, entry)
  redis.call('PEXPIRE', key, ttl)
end
local function extend_all(names, entry, generation, ttl)
  for key in string.gmatch(names, '[^\\n]+') do extend(key, entry, generation, ttl) end
end
"""

# KEYS counts, logs, records. ARGV generation, ttl of logs and of records, numbers of logs and of events; per log the
# generation and length the caller has; per event its head, the keys its label goes to, how many logs it has, and per log
# its place and the entry. Replies per event {0, from, bytes, from, bytes, ...}, or when known {1, answer} or {1, '', log, ...}.
OBSERVE = (
    _LOGS
    + """
local logs, events = tonumber(ARGV[4]), tonumber(ARGV[5])
local place, sent = 5, {}
for i = 1, logs do
  local same = redis.call('GETRANGE', KEYS[1 + i], 0, 7) == ARGV[place + 1]
  sent[i] = same and tonumber(ARGV[place + 2]) or 0
  place = place + 2
end
local replies = {}
for e = 1, events do
  local record, head, names = KEYS[1 + logs + e], ARGV[place + 1], ARGV[place + 2]
  local used = tonumber(ARGV[place + 3])
  local first = place + 3
  place = first + 2 * used
  local known = redis.call('HMGET', record, 't', 'a', 'p', 'y')
  local reply
  if known[1] and known[2] then
    reply = {1, known[2]}
  elseif known[1] then
    reply = {1, ''}
    local then_ = known[3] or ''
    for u = 1, used do
      local key = KEYS[1 + tonumber(ARGV[first + 2 * u - 1])]
      local was = string.sub(then_, 17 * u - 16, 17 * u)
      local last = -1
      if #was == 17 and redis.call('GETRANGE', key, 0, 7) == string.sub(was, 1, 8) then
        last = tonumber(string.sub(was, 9)) - 1
      end
      reply[2 + u] = redis.call('GETRANGE', key, 0, last)
    end
  else
    reply = {0}
    local positions = {}
    for u = 1, used do
      local key, entry = KEYS[1 + tonumber(ARGV[first + 2 * u - 1])], ARGV[first + 2 * u]
      if entry ~= '' then extend(key, entry, ARGV[1], ARGV[2]) end
    end
    if known[4] then
      extend_all(names, 'l' .. head .. known[4], ARGV[1], ARGV[2])
      redis.call('HINCRBY', KEYS[1], 'waiting', -1)
      redis.call('HINCRBY', KEYS[1], 'labels', 1)
    end
    for u = 1, used do
      local log = tonumber(ARGV[first + 2 * u - 1])
      local key = KEYS[1 + log]
      local length = redis.call('STRLEN', key)
      reply[2 * u] = sent[log]
      reply[2 * u + 1] = redis.call('GETRANGE', key, sent[log], -1)
      sent[log] = length
      positions[u] = redis.call('GETRANGE', key, 0, 7) .. string.format('%9d', length)
    end
    redis.call('HSET', record, 't', head, 'k', names, 'p', table.concat(positions))
    redis.call('PEXPIRE', record, ARGV[3])
  end
  redis.call('HINCRBY', KEYS[1], reply[1] == 0 and 'events' or 'duplicates', 1)
  replies[e] = reply
end
return replies
"""
)

# KEYS logs. ARGV per log the generation and length the caller has. Replies {from, bytes, ...}.
PEEK = """
local reply = {}
for i = 1, #KEYS do
  local same = redis.call('GETRANGE', KEYS[i], 0, 7) == ARGV[2 * i - 1]
  local from = same and tonumber(ARGV[2 * i]) or 0
  reply[2 * i - 1] = from
  reply[2 * i] = redis.call('GETRANGE', KEYS[i], from, -1)
end
return reply
"""

# KEYS counts, record. ARGV generation, ttl of logs and of records, label. Replies 1 where the event is known.
LABEL = (
    _LOGS
    + """
local known = redis.call('HMGET', KEYS[2], 't', 'k', 'y')
local label = ARGV[4]
if known[3] == label then return known[1] and 1 or 0 end
redis.call('HSET', KEYS[2], 'y', label)
if not known[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  if not known[3] then redis.call('HINCRBY', KEYS[1], 'waiting', 1) end
  return 0
end
if known[3] then extend_all(known[2], 'r' .. known[1] .. known[3], ARGV[1], ARGV[2])
else redis.call('HINCRBY', KEYS[1], 'labels', 1) end
extend_all(known[2], 'l' .. known[1] .. label, ARGV[1], ARGV[2])
return 1
"""
)

# KEYS records. Replies 1 for those whose event is known.
KNOWN = """
local reply = {}
for i = 1, #KEYS do reply[i] = redis.call('HEXISTS', KEYS[i], 't') end
return reply
"""

# KEYS logs. ARGV generation, ttl, entries of each log.
EXTEND = _LOGS + "for i = 1, #KEYS do extend(KEYS[i], ARGV[2 + i], ARGV[1], ARGV[2]) end"

# KEYS counts, records. ARGV generation, ttl of logs and of records; per record its head, the keys its label goes to, and its
# label, which is in the logs already, or ''. A label that was waiting for the event takes its place.
REMEMBER = (
    _LOGS
    + """
local events, labels, waiting = 0, 0, 0
for i = 1, #KEYS - 1 do
  local record, head, names, label = KEYS[1 + i], ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  local known = redis.call('HMGET', record, 't', 'y')
  if not known[1] then
    events = events + 1
    if known[2] then
      waiting = waiting + 1
      if label ~= '' then extend_all(names, 'r' .. head .. label, ARGV[1], ARGV[2]) end
      extend_all(names, 'l' .. head .. known[2], ARGV[1], ARGV[2])
      label = known[2]
    end
    if label ~= '' then
      labels = labels + 1
      redis.call('HSET', record, 't', head, 'k', names, 'y', label)
    else
      redis.call('HSET', record, 't', head, 'k', names)
    end
    redis.call('PEXPIRE', record, ARGV[3])
  end
end
redis.call('HINCRBY', KEYS[1], 'events', events)
redis.call('HINCRBY', KEYS[1], 'labels', labels)
redis.call('HINCRBY', KEYS[1], 'waiting', 0 - waiting)
"""
)

# KEYS log. ARGV the generation and length the caller has read, the log to put in its place, ttl.
REWRITE = """
if redis.call('GETRANGE', KEYS[1], 0, 7) == ARGV[1] and redis.call('STRLEN', KEYS[1]) == tonumber(ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
"""
