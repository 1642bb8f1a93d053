"""A source's own words, fit to be shown: it may say back the secrets it was sent."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import partial
from urllib.parse import quote, quote_plus

LONGEST_SAID = 200
HIDDEN = "***"
SHORTEST_SECRET = 4  # a header's value that is shorter is a number or a flag
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    partial(quote, safe=""),
    quote_plus,
    lambda secret: repr(secret)[1:-1],
    lambda secret: json.dumps(secret)[1:-1],
    lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
)


class Quoting:
    """Quotes without `secrets`, however they are written, on one line, and not too long. `public` hides nothing."""

    def __init__(self, secrets: Iterable[str], public: str) -> None:
        spelled = {form(each) for each in secrets for form in SPELLINGS}
        hidden = (each for each in spelled if each and each not in f"{public}/")
        # The longest first, so that no part of one is left.
        self._hidden = [_found_as(each) for each in sorted(hidden, key=len, reverse=True)]

    def __call__(self, said: str) -> str:
        for hidden in self._hidden:
            said = re.sub(hidden, HIDDEN, said)
        return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+", " ", said)[:LONGEST_SAID]


def sent(auth: tuple[str, str] | None, headers: dict[str, str]) -> list[str]:
    """Everything secret that goes out with a request."""
    named = [auth[1], b64encode(":".join(auth).encode()).decode()] if auth else []
    parts = [part for value in headers.values() for part in (value, *value.split()[1:])]
    return named + [part for part in parts if len(part) >= SHORTEST_SECRET]


def _found_as(secret: str) -> str:
    """Anywhere; a very short one not within words, which it would only make unreadable."""
    literal = re.escape(secret)
    return literal if len(secret) >= SHORTEST_SECRET else rf"(?<!\w){literal}(?!\w)"
