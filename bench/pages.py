"""The pages of the source: TestRail's answers as files, composed once for a number of cases and kept.

python -m bench.pages CASES    writes them and says where
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson

from collectors.testing import composing, vocabulary
from collectors.testing.composing import Composer, Item

KEPT = Path(__file__).parent.parent / ".bench"
PAGE = 250
CASES_OF_A_DIRECTORY = 100
CHANGED = 0.01
FEW = 10_000
A_DAY = 86_400
WORDS = [re.findall("[一-鿿]{2}|[A-Za-z]{3,}", repr(language)) for language in vocabulary.LANGUAGES]
STYLES = tuple(zip(WORDS, ("", " "), (13, 8), strict=True))  # words, what is between them, how many make a line


def pages(cases: int) -> Path:
    """A folder with the variants `all`, `changed` (one per cent of the cases) and `few` (the first 10,000)."""
    folder = KEPT / f"pages-{cases}-{_recipe()}"
    if not folder.exists():
        making = folder.with_suffix(f".{os.getpid()}")
        _write(making, cases)
        making.rename(folder)
    return folder


def _recipe() -> str:
    """Changes with everything the pages are made of."""
    files = (__file__, composing.__file__, vocabulary.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:8]


# ---- what they say -----------------------------------------------------------------------------------------


def composed(cases: int) -> tuple[list[Item], list[Item]]:
    """Sections and cases. Steps are words drawn by chance: sentences that repeat compress like nothing in life."""
    composer, random = Composer("bench"), Random("bench")
    sections = composer.sections(-(-cases // CASES_OF_A_DIRECTORY))
    return sections, [case | {"custom_steps_separated": _steps(random)} for case in composer.cases(cases)]


def _steps(random: Random) -> list[dict[str, str]]:
    words, between, many = random.choice(STYLES)
    lines = [between.join(random.choices(words, k=many)) for _ in range(6)]
    return [
        {"content": content, "expected": expected} for content, expected in zip(lines[::2], lines[1::2], strict=True)
    ]


def _edited(cases: Sequence[Item]) -> list[Item]:
    """One per cent of the cases, spread over all of them, have another title."""
    chosen = set(Random("edited").sample(range(len(cases)), round(len(cases) * CHANGED)))
    return [
        case | {"title": f"{case['title']} (2)", "updated_on": case["updated_on"] + 1} if number in chosen else case
        for number, case in enumerate(cases)
    ]


# ---- as files ----------------------------------------------------------------------------------------------


def _write(folder: Path, count: int) -> None:
    sections, cases = composed(count)
    for variant, kept in (("all", cases), ("changed", _edited(cases)), ("few", cases[:FEW])):
        for kind, items in (("sections", sections), ("cases", kept)):
            for name, answer in _answers(kind, items):
                _file(folder / variant / kind / name, answer, folder / "all" / kind / name)


def _answers(kind: str, items: Sequence[Item]) -> Iterator[tuple[str, bytes]]:
    """Whole pages, and the first item of each alone: a survey asks for one item at the beginning of a page."""
    yield "none.json", _answer(kind, [], PAGE, None, {})
    for offset in range(0, len(items), PAGE):
        for limit in (PAGE, 1):
            following = offset + limit if offset + limit < len(items) else None
            yield (
                f"{limit}/{offset}.json",
                _answer(kind, items[offset : offset + limit], limit, following, {"offset": offset}),
            )


def _answer(kind: str, items: Sequence[Item], limit: int, following: int | None, extra: dict[str, int]) -> bytes:
    link = f"/api/v2/get_{kind}/1&suite_id=1&limit={limit}&offset={following}" if following else None
    envelope: dict[str, Any] = {"limit": limit, "size": len(items), "_links": {"next": link, "prev": None}}
    return orjson.dumps(extra | envelope | {kind: items})


def _file(path: Path, answer: bytes, original: Path) -> None:
    """What is equal in two variants is one file, so that its ETag is the same; what differs is a day younger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path != original and original.read_bytes() == answer:
        path.hardlink_to(original)
        return
    path.write_bytes(answer)
    if path != original:
        later = path.stat().st_mtime + A_DAY
        os.utime(path, (later, later))


def main(cases: str) -> None:
    print(pages(int(cases)))


if __name__ == "__main__":
    main(*sys.argv[1:])
