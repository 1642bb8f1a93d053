"""Search as text: what of a record is searched, what a query asks for, where a hit stands. Pure; the stores index it.

Everything is compared folded: without case, and as long as it was, so that a place in one is a place in the other.
"""

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NAME = "name"
FIELDS = ("description", "preconditions", "steps", "expectedResults")
PAIR = 3
AROUND = 30
ALNUM = frozenset(string.digits + string.ascii_lowercase)
BEFORE, AFTER = "【", "】"
CUT = "…"


class Found(NamedTuple):
    """The field of a record that says most of what was asked for, and a part of it with the hits in 【】."""

    field: str
    snippet: str


def folded(text: str) -> str:
    """Character for character: one whose folded form is longer stays as it is."""
    whole = text.casefold()
    if len(whole) != len(text):
        whole = "".join(one if len(one.casefold()) > 1 else one.casefold() for one in text)
    return whole.replace("\0", " ")


def words(query: str) -> list[str]:
    """What has to occur, each once: the query folded and parted at its blanks. Nothing in it has a special meaning."""
    return list(dict.fromkeys(folded(query).split()))


def pairs(text: str) -> str:
    """Every two neighbouring characters, each `PAIR` long: `ab bc c\0 ` of `abc`; finds what has no blanks.

    The form SQLite's index takes them in. Made by copying memory, since every record pays for it when it is stored:
    measured 19 µs a record, against 57 for joining strings.
    """
    units = memoryview(f"{text}\0".encode("utf-32-le")).cast("I")
    paired = memoryview(bytearray(" ".encode("utf-32-le") * (PAIR * len(text)))).cast("I")
    paired[::PAIR], paired[1::PAIR] = units[:-1], units[1:]
    return bytes(paired).decode("utf-32-le")


def texts(name: str, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (field, text) pairs of a record that are searched, its name first."""
    found = [(NAME, name)]
    for field in FIELDS:
        value = content.get(field)
        if isinstance(value, list):
            found += [(field, text) for text in value if isinstance(text, str)]
        elif isinstance(value, str):
            found.append((field, value))
    return found


def find(wanted: Sequence[str], searched: Iterable[tuple[str, str]]) -> Found | None:
    """Where the `wanted` words (folded) stand; None when one of them stands nowhere."""
    missing, best, most = set(wanted), None, 0
    for field, text in searched:
        low = folded(text)
        here = [word for word in wanted if next(_places(low, word), None) is not None]
        missing.difference_update(here)
        if len(here) > most:
            best, most = (field, text, here), len(here)
    return Found(best[0], _snippet(*best[1:])) if best and not missing else None


def _snippet(text: str, wanted: Sequence[str]) -> str:
    """The part of `text` around the first hit, with every hit in it marked."""
    hits = _hits(folded(text), wanted)
    start, stop = max(hits[0][0] - AROUND, 0), hits[0][1] + AROUND
    parts, at = [CUT if start else ""], start
    for first, last in hits:
        if last <= stop:
            parts += [text[at:first], BEFORE, text[first:last], AFTER]
            at = last
    parts += [text[at:stop], CUT if stop < len(text) else ""]
    return "".join(parts)


def _hits(low: str, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Where the words stand in folded text, in order; those that touch are one."""
    spans = sorted((at, at + len(word)) for word in wanted for at in _places(low, word))
    joined = [spans[0]]
    for first, last in spans[1:]:
        if first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _places(low: str, word: str) -> Iterator[int]:
    """Where `word` stands in folded text: anywhere, but one of ASCII letters only where a word begins."""
    begins = word.isascii() and word[0].isalnum()
    at = low.find(word)
    while at >= 0:
        if not begins or low[at - 1 : at] not in ALNUM:
            yield at
        at = low.find(word, at + 1)
