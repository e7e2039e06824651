"""The scripts that Redis runs to count: one for each algorithm, one string per bucket, one round trip.

LIMIT has the same groups as `bucket.SlidingWindow`. The string is a head (begin of the newest group, total of all
counts) and the groups, oldest first: the date and the number of requests of each. Times are whole microseconds of
Redis' own clock, so that clocks of the machines do not matter. Of the `wanted` permits, as many are granted as the
limit allows. With none wanted, nothing changes: the answer says whether one more is admitted.

Permits may be spent for `lease` microseconds, so their date is the end of that time: they count for a whole window
after it, whenever they are spent. Clocks can be set back: no date is before an older group's date, and a bucket with a
date too far in the future counts as empty.

TOKENS has when the bucket is full again, as `bucket.TokenBucket`. Permits that may be spent later are taken at the end
of that time, so that the bucket begins to fill only then. A bucket that is full too far in the future counts as full.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Final, NamedTuple

from gproxy.state.rate_limit.bucket import ROUNDING, STEPS


class Script(NamedTuple):
    """The script, and the digest by which Redis finds a script that it ran before."""

    text: bytes
    digest: str

    @staticmethod
    def keys(key: bytes) -> Sequence[bytes]:
        """Return the one key that the script uses."""
        return [key]

    @staticmethod
    def result(answer: object, arguments: Sequence[int]) -> list[int]:
        """Return the answer. Raise ValueError if the script cannot have returned it: the server may be no Redis."""
        window, limit, wanted, *_ = arguments
        most = (wanted, limit, 4 * window, 4 * window)  # a lease and a clock that was set back add to a wait
        if not isinstance(answer, list) or [type(number) for number in answer] != [int] * len(most):
            raise ValueError("the answer is not the script's result")
        if not all(0 <= number <= bound for number, bound in zip(answer, most, strict=True)):
            raise ValueError("the answer has numbers that the script cannot return")
        return answer


def _script(text: bytes) -> Script:
    return Script(text, sha1(text, usedforsecurity=False).hexdigest())


#: A bucket's key; its window, limit, wanted permits, their lease -> granted, remaining, wait, reset.
LIMIT: Final = _script(
    b"""
local window, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local bucket = redis.call('GET', KEYS[1])

local begun, total, newest, last = 0, 0, 0, 0
local groups = ''
if bucket then
  begun, total = struct.unpack('<dd', bucket)
  newest, last = struct.unpack('<dd', bucket, #bucket - 15)
  if newest > now + 2 * window then total, newest = 0, 0 else groups = string.sub(bucket, 17) end
end

local first = 1
while first < #groups do
  local dated, count = struct.unpack('<dd', groups, first)
  if dated + window > now then break end
  total = total - count
  first = first + 16
end
groups = string.sub(groups, first)

if total >= limit then
  return {0, 0, struct.unpack('<d', groups) + window - now, newest + window - now}
end

if wanted == 0 then return {0, limit - total, 0, 0} end

local granted = math.min(wanted, limit - total)
local dated = math.max(newest, now + lease)
if groups ~= '' and now - begun < window / STEPS then
  groups = string.sub(groups, 1, -17) .. struct.pack('<dd', dated, last + granted)
else
  groups = groups .. struct.pack('<dd', dated, granted)
  begun = now
end
total = total + granted
local life = dated + window - now
redis.call('SET', KEYS[1], struct.pack('<dd', begun, total) .. groups, 'PX', math.ceil(life / 1000))
local remaining = limit - total
return {granted, remaining, remaining > 0 and 0 or struct.unpack('<d', groups) + window - now, life}
""".replace(b"STEPS", b"%d" % STEPS)
)

#: A bucket's key; its window, limit, wanted tokens, their lease, the bound until it is full again -> as LIMIT.
TOKENS: Final = _script(
    b"""
local window, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local bound = math.min(tonumber(ARGV[5]), window)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
if full_at > now + 2 * window then full_at = 0 end

local interval = window / limit
local missing = math.min(math.max(full_at - now, 0), window)
local function room(from) return math.floor((bound - from) / interval + ROUNDING) end

local begin = math.max(missing, lease)
local granted = math.min(wanted, room(begin))
if granted < 2 then
  begin = missing
  granted = math.min(1, room(begin))
end
if granted < 1 then return {0, 0, math.ceil(missing + interval - bound), math.ceil(missing)} end
if wanted == 0 then return {0, granted, 0, 0} end

missing = begin + granted * interval
redis.call('SET', KEYS[1], string.format('%.3f', now + missing), 'PX', math.ceil(missing / 1000))
local remaining = room(missing)
return {granted, remaining, remaining > 0 and 0 or math.ceil(missing + interval - bound), math.ceil(missing)}
""".replace(b"ROUNDING", b"%g" % ROUNDING)
)
