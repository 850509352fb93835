"""Accounts in Redis: one script decides and reserves, by the clock of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trisignal.errors import MissingExtraError
from trisignal.watch.limits.accounts import KEEP_S, MARK, MOST_FIELDS, Demand, Over, Ruling, Unavailable
from trisignal.watch.limits.periods import FIRST_MONDAY_S, Period
from trisignal.watch.limits.periods import SECONDS as LENGTHS

TIMEOUT_S = 0.5
"""How long a call waits for Redis, unless the URL says otherwise (``?socket_timeout=2``)."""
PREFIX = "trisignal"

# What both scripts begin with. The clocks of processes may differ: only the server's counts.
_HEAD = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function period(per, length, offset)
  if per == '' then return 0, 0 end
  if per ~= 'month' then
    local start = math.floor((now - offset) / length) * length + offset
    return start, start + length
  end
  -- Days to the first of a month, by the calendar of H. Hinnant's days_from_civil.
  local days = math.floor(now / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local first = math.floor((153 * mp + 2) / 5)
  local start = (era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + first - 719468) * 86400
  local lengths = {31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28}
  local length = lengths[mp + 1]
  local year = yoe + 1
  if mp == 11 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then length = 29 end
  return start, start + length * 86400
end
local start, stop = period(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
local key = KEYS[1] .. ':' .. string.format('%d', start)
"""

_RESERVE = (
    _HEAD
    + """
local limits, amounts, expected = cjson.decode(ARGV[5]), cjson.decode(ARGV[6]), cjson.decode(ARGV[7])
local used, over = {}, ''
for _, pair in ipairs(limits) do
  local name, value = pair[1], 0
  if name == 'seconds' then
    local started = redis.call('HGET', key, 'started')
    if started then value = math.max(0, now - tonumber(started)) end
  else
    value = tonumber(redis.call('HGET', key, name) or '0')
  end
  used[name] = value
  if over == '' and value >= pair[2] then over = name end
end
local reserved = {}
if over == '' then
  redis.call('HSETNX', key, 'started', string.format('%.6f', now))
  local ended = tonumber(redis.call('HGET', key, 'settled') or '0')
  for _, pair in ipairs(expected) do
    local amount = pair[2]
    if ended > 0 then amount = tonumber(redis.call('HGET', key, 'settled:' .. pair[1]) or '0') / ended end
    reserved[pair[1]] = string.format('%.17g', amount)
    table.insert(amounts, {pair[1], amount})
  end
  for _, pair in ipairs(amounts) do
    local name = pair[1]
    local room = string.sub(name, 1, MARK_LENGTH) ~= 'MARK' or redis.call('HEXISTS', key, name) == 1
      or redis.call('HLEN', key) < MOST_FIELDS
    if room then
      local after = redis.call('HINCRBYFLOAT', key, name, string.format('%.17g', pair[2]))
      if used[name] then used[name] = tonumber(after) end
    end
  end
  if stop > 0 then redis.call('EXPIREAT', key, string.format('%d', stop + KEEP_S))
  else redis.call('EXPIRE', key, ARGV[4]) end
end
local out = {over, string.format('%d', start), string.format('%d', stop), cjson.encode(reserved)}
for _, pair in ipairs(limits) do table.insert(out, string.format('%.17g', used[pair[1]])) end
return out
""".replace("MARK_LENGTH", str(len(MARK)))
    .replace("'MARK'", f"'{MARK}'")
    .replace("MOST_FIELDS", str(MOST_FIELDS))
    .replace("KEEP_S", str(int(KEEP_S)))
)

_SETTLE = """
local key = KEYS[1] .. ':' .. ARGV[1]
local out = {}
for _, pair in ipairs(cjson.decode(ARGV[3])) do
  table.insert(out, redis.call('HINCRBYFLOAT', key, pair[1], string.format('%.17g', pair[2])))
end
if redis.call('TTL', key) < 0 or ARGV[1] == '0' then redis.call('EXPIRE', key, ARGV[2]) end
return out
"""

_USED = (
    _HEAD
    + """
local out = {}
for index = 4, #ARGV do
  local name, value = ARGV[index], '0'
  if name == 'seconds' then
    local started = redis.call('HGET', key, 'started')
    if started then value = string.format('%.6f', math.max(0, now - tonumber(started))) end
  else
    value = redis.call('HGET', key, name) or '0'
  end
  table.insert(out, value)
end
return out
"""
)

_LONGEST_PERIOD_S = 32 * 86_400


class RedisAccounts:
    """Accounts in a Redis server, or what speaks its protocol (Valkey).

    Args:
        url: As redis-py reads it, e.g. ``redis://localhost:6379/0``; ``?socket_timeout=`` replaces `TIMEOUT_S`.
        name: Of the limit.
        per: Period that accounts start over with; None for accounts that last.
        forget_after_s: Seconds after which an account without a period, that nobody uses, is forgotten.

    Raises:
        MissingExtraError: The package ``redis`` is not installed.
        ValueError: The URL cannot be read.
    """

    def __init__(self, url: str, name: str, per: Period | None, *, forget_after_s: float = KEEP_S) -> None:
        try:
            import redis
        except ImportError:
            raise MissingExtraError("shared= with a redis:// URL", "redis") from None
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=True
        )
        # One limit is one slot of a cluster: the braces are its hash tag.
        self._base = f"{PREFIX}:{{{name}}}"
        self._per = [per or "", LENGTHS.get(per or "", 1), FIRST_MONDAY_S if per == "week" else 0]
        self._ttl_s = int(forget_after_s if per is None else _LONGEST_PERIOD_S + KEEP_S)
        self._reserve = self._client.register_script(_RESERVE)
        self._settle = self._client.register_script(_SETTLE)
        self._used = self._client.register_script(_USED)

    def _run(self, script: Any, account: str, *arguments: object) -> Any:
        try:
            return script(keys=[f"{self._base}:{account}"], args=list(arguments))
        except self._errors as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def reserve(self, account: str, ask: Demand) -> Ruling:
        """See `Accounts`."""
        limits, amounts, expected = (_pairs(one) for one in (ask.limits, ask.amounts, ask.expected))
        name, stamp, ends, reserved, *values = self._run(
            self._reserve, account, *self._per, self._ttl_s, limits, amounts, expected
        )
        used = {resource: float(value) for resource, value in zip(ask.limits, values)}
        over = Over(name, used[name], ask.limits[name]) if name else None
        return Ruling(over, used, _numbers(reserved), int(stamp), float(ends))

    def settle(
        self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None
    ) -> Mapping[str, float] | None:
        """See `Accounts`."""
        added = dict(changes)
        if used is not None:
            added |= {"settled": 1.0, **{f"settled:{resource}": amount for resource, amount in used.items()}}
        values = self._run(self._settle, account, stamp, self._ttl_s, _pairs(added))
        return {resource: float(value) for resource, value in zip(changes, values)}

    def used(self, account: str, resources: tuple[str, ...]) -> Mapping[str, float]:
        """See `Accounts`."""
        values = self._run(self._used, account, *self._per, *resources)
        return {resource: float(value) for resource, value in zip(resources, values)}

    def after_fork(self) -> None:
        """The package opens new connections in a child itself."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _pairs(values: Mapping[str, float]) -> str:
    return json.dumps(list(values.items()))


def _numbers(text: str) -> dict[str, float]:
    loaded = json.loads(text)
    return {k: float(v) for k, v in loaded.items()} if isinstance(loaded, dict) else {}
