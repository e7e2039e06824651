"""The entries of a table in Redis, for all machines: a hash of the values, and a sorted set of the ends of their lives.

One script does everything, so that each change is one step and one round trip. The time is that of Redis. Both keys
expire by themselves. Integers are decimal numbers, so that Redis adds them exactly; before all other values is a
letter. All entries of a table live equally long, so the one whose life ends first is the oldest. While machines get
another `ttl` one after the other, the keys live as long as the longest.
"""

from collections.abc import Sequence
from hashlib import sha1
from math import ceil
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from gproxy.state.table import Kind, Number, Packed, pack, unpack

T = TypeVar("T")

#: The letters before values; integers have none.
_LETTERS: Final = {Kind.FLOAT: b"f", Kind.TEXT: b"t", Kind.BYTES: b"b", Kind.JSON: b"j"}
_KINDS: Final = {letter: kind for kind, letter in _LETTERS.items()}
# The first number of an answer.
_ABSENT: Final = 0
_NO_NUMBER: Final = -1
_TOO_LARGE: Final = -2

#: The hash and the set; operation, name of the entry, life in milliseconds, most entries, value or amount -> whether
#: the entry was there, or what is wrong; number of entries dropped early; value.
_TEXT: Final = b"""
local entries, ends = KEYS[1], KEYS[2]
local operation, name, life, most, value = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local evicted = 0

local function drop(one)
  redis.call('HDEL', entries, one)
  redis.call('ZREM', ends, one)
end

for _, one in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do drop(one) end
local found = redis.call('HGET', entries, name)
if found and tonumber(redis.call('ZSCORE', ends, name) or 0) <= now then
  drop(name)
  found = false
end

local function put(new)
  while not found and redis.call('HLEN', entries) >= most do
    local oldest = redis.call('ZRANGE', ends, 0, 0, 'WITHSCORES')
    if not oldest[1] then
      redis.call('DEL', entries)
      break
    end
    if tonumber(oldest[2]) > now then evicted = evicted + 1 end
    drop(oldest[1])
  end
  redis.call('HSET', entries, name, new)
  redis.call('ZADD', ends, now + life, name)
  local longest = math.max(life, redis.call('PTTL', entries))
  redis.call('PEXPIRE', entries, longest)
  redis.call('PEXPIRE', ends, longest)
end

local function number(text)
  if string.find(text, '^%-?%d+$') then return tonumber(text) end
  if string.sub(text, 1, 1) == 'f' then return tonumber(string.sub(text, 2)) end
end

if operation == 'set' or (operation == 'add' and not found) then
  put(value)
elseif operation == 'pop' and found then
  drop(name)
elseif operation == 'incr' then
  if not found then
    put(value)
    return {1, evicted, value}
  end
  local before, amount = number(found), number(value)
  if not before then return {-1, 0, found} end
  if string.sub(found, 1, 1) ~= 'f' and string.sub(value, 1, 1) ~= 'f' then
    local sum = redis.pcall('HINCRBY', entries, name, value)
    if type(sum) == 'table' then return {-2, 0, found} end
    return {1, 0, redis.call('HGET', entries, name)}
  end
  local total = before + amount
  if total == math.huge or total == -math.huge then return {-2, 0, found} end
  local sum = 'f' .. string.format('%.17g', total)
  redis.call('HSET', entries, name, sum)
  return {1, 0, sum}
end
return {found and 1 or 0, evicted, found or ''}
"""


class TableAnswer(NamedTuple):
    """An answer of the script: whether the entry was there, or what is wrong; entries dropped early; the value."""

    status: int
    evicted: int
    value: bytes


class TableScript:
    """The script of all tables."""

    text: Final = _TEXT
    digest: Final = sha1(_TEXT, usedforsecurity=False).hexdigest()

    @staticmethod
    def keys(key: bytes) -> Sequence[bytes]:
        """Return the keys of the hash and of the set; they have their name in braces, for one node of a cluster."""
        return [key, key + b":ends"]

    @staticmethod
    def result(answer: object, _: Sequence[Any]) -> TableAnswer:
        """Return the answer. Raise ValueError if the script cannot have returned it: the server may be no Redis."""
        if not isinstance(answer, list) or [type(word) for word in answer] != [int, int, bytes]:
            raise ValueError("the answer is not the script's result")
        return TableAnswer(*answer)


class Run(Protocol):
    """A function that runs a script for a table's key. Raises StoreUnavailableError."""

    def __call__(self, script: TableScript, /, *words: int | bytes) -> TableAnswer: ...


class RedisEntries:
    """The entries of a table in Redis."""

    def __init__(self, run: Run, max_keys: int) -> None:
        self._run = run
        self._max_keys = max_keys
        self._script = TableScript()
        self.evicted = 0

    def _do(self, operation: bytes, key: bytes, life: float = 0.0, value: bytes = b"") -> TableAnswer:
        answer = self._run(self._script, operation, key, ceil(life * 1000), self._max_keys, value)
        self.evicted += answer.evicted
        return answer

    def get(self, key: bytes, /) -> Packed | None:
        return _value(self._do(b"get", key))

    def set(self, key: bytes, value: Packed, life: float, /) -> None:
        self._do(b"set", key, life, written(value))

    def add(self, key: bytes, value: Packed, life: float, /) -> bool:
        return self._do(b"add", key, life, written(value)).status == _ABSENT

    def incr(self, key: bytes, amount: Number, life: float, /) -> Number:
        answer = self._do(b"incr", key, life, written(pack(amount)))
        if answer.status == _TOO_LARGE:
            raise ValueError(f"{unpack(read(answer.value))} plus {amount} is beyond 64 bits")
        value: Number = unpack(read(answer.value))
        if answer.status == _NO_NUMBER:
            raise TypeError(f"the value is {value!r}; expected a number")
        return value

    def pop(self, key: bytes, /) -> Packed | None:
        return _value(self._do(b"pop", key))


def _value(answer: TableAnswer) -> Packed | None:
    return None if answer.status == _ABSENT else read(answer.value)


def written(value: Packed) -> bytes:
    """Return the value as it is in Redis."""
    if value.kind is Kind.INT:
        return b"%d" % unpack(value)
    data = repr(unpack(value)).encode() if value.kind is Kind.FLOAT else value.data
    return _LETTERS[value.kind] + data


def read(data: bytes) -> Packed:
    """Return the value that Redis has."""
    kind = _KINDS.get(data[:1], Kind.INT)
    if kind is Kind.INT:
        return pack(int(data))
    return pack(float(data[1:])) if kind is Kind.FLOAT else Packed(kind, data[1:])
