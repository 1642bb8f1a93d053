"""What Redis does in one step. A key is a hash of a value, or of the token of the reader that is loading it.

Beside it stands the era, a word that is made anew whenever Redis does not know the scripts. It forgets them when it is
started again, and a replica that takes over never knew them; either may hold what was dropped before, and nothing of an
older era is believed.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from secrets import token_hex
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import NoScriptError, WatchError

ERA = "platform-collect:era"
SECONDS_TO_LOAD = 10.0  # a reader that takes longer answers what it loaded, but it is not kept
# KEYS: the era, keys. ARGV: an era in case there is none, a token, its milliseconds.
# Answers a value with `=` before it, `?` where somebody else is loading, nothing where the token stands now.
ASK = """
local era = redis.call('GET', KEYS[1])
if not era then
    era = ARGV[1]
    redis.call('SET', KEYS[1], era)
end
local answers = {}
for n = 2, #KEYS do
    local held = redis.pcall('HMGET', KEYS[n], 'era', 'value')
    if held[1] ~= era then
        redis.call('DEL', KEYS[n])
        redis.call('HSET', KEYS[n], 'era', era, 'token', ARGV[2])
        redis.call('PEXPIRE', KEYS[n], ARGV[3])
        answers[n - 1] = false
    else
        answers[n - 1] = held[2] and '=' .. held[2] or '?'
    end
end
return answers
"""
# KEYS: the era, keys. ARGV: the token, and for each key its milliseconds (0: it has no value) and its value.
FILL = """
local era = redis.call('GET', KEYS[1])
for n = 2, #KEYS do
    local held = redis.pcall('HMGET', KEYS[n], 'era', 'token')
    if era and held[1] == era and held[2] == ARGV[1] then
        redis.call('DEL', KEYS[n])
        if ARGV[2 * n - 2] ~= '0' then
            redis.call('HSET', KEYS[n], 'era', era, 'value', ARGV[2 * n - 1])
            redis.call('PEXPIRE', KEYS[n], ARGV[2 * n - 2])
        end
    end
end
"""


class Answers(NamedTuple):
    """What is kept, what the asker has to load, and what somebody else is loading."""

    kept: dict[str, bytes]
    missing: list[str]
    awaited: list[str]


class Scripts:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def ask(self, keys: Sequence[str], token: str) -> Answers:
        """The missing ones are reserved for `token`."""
        found = self._run(ASK, keys, token_hex(8), token, round(SECONDS_TO_LOAD * 1000))
        answers = Answers({}, [], [])
        for key, said in zip(keys, found, strict=True):
            if said is None:
                answers.missing.append(key)
            elif said == b"?":
                answers.awaited.append(key)
            else:
                answers.kept[key] = said[1:]
        return answers

    def kept(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What `ask` would say is kept; nothing is reserved."""
        with self._redis.pipeline(transaction=False) as asked:
            asked.get(ERA)
            for key in keys:
                asked.hmget(key, "era", "value")
            era, *held = asked.execute()
        found = zip(keys, held, strict=True)
        return {key: value for key, (of, value) in found if value is not None and of == era}

    def fill(self, keys: Sequence[str], token: str, values: Mapping[str, bytes], lives: Sequence[float]) -> None:
        """Keep the values, for so many seconds each, of `keys` still reserved for `token`; free those without one."""
        each = [
            (round(life * 1000), values[key]) if key in values else (0, b"")
            for key, life in zip(keys, lives, strict=True)
        ]
        self._run(FILL, keys, token, *(part for pair in each for part in pair))

    def _run(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        call = sha1(script.encode(), usedforsecurity=False).hexdigest(), len(keys) + 1, ERA, *keys, *arguments
        try:
            return self._redis.evalsha(*call)
        except NoScriptError:
            self._learn()
            return self._redis.evalsha(*call)

    def _learn(self) -> None:
        """Scripts and era are made known in one step, so that no script ever meets an older era; by one of many."""
        names = [sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (ASK, FILL)]
        with self._redis.pipeline() as step:
            step.watch(ERA)
            if all(step.script_exists(*names)):
                return
            step.multi()
            step.set(ERA, token_hex(8))
            step.script_load(ASK)
            step.script_load(FILL)
            with suppress(WatchError):  # somebody else was quicker
                step.execute()
