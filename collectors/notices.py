"""What is to be known of how a run ended, and is no failure: kept with the run, and told with it."""

from collections.abc import Mapping
from typing import Any

from collectors.errors import CollectError
from collectors.models import EVERYTHING, Collection, Verdict


def left_uncertain(missing: int) -> tuple[str, ...]:
    """What is to be said of records that were not seen, and may be there all the same."""
    return _of_some(
        missing,
        "{count:,} known records were not seen, and the source does not say whether they are gone",
        "They are marked as deleted when the next full run does not see them, either.",
        code="COL-0422",
    )


def left_unlisted(there: int) -> tuple[str, ...]:
    """What is to be said of records that the source does not list, and says it has."""
    return _of_some(
        there,
        "{count:,} known records are not listed, and the source says that it has them; they stay as they are",
        "They may lie where this collection does not look, or their list moved while it was read: collect it again.",
        code="COL-0426",
    )


def regressed(collection: Collection, applied: Mapping[str, int]) -> tuple[str, ...]:
    """What is to be said of records whose own version ran backwards."""
    return _of_some(
        applied[Verdict.REGRESSED],
        "{count:,} records came with an older version than is known, and were left as they are",
        "If the source was restored from a backup: collect epoch {collection} --bump, then collect it in full.",
        code="COL-0421",
        collection=collection.name,
    )


def undated() -> str:
    """What is to be said of a source whose clock is not known."""
    return str(
        CollectError(
            "the source does not tell its time (a Date header): the watermark stays where it is",
            "Incremental runs read on from there; it can be moved with: collect watermark set",
            code="COL-0436",
        )
    )


def set_meanwhile() -> str:
    """What is to be said of a run that was paused when a person set its watermark."""
    what = "the watermark was set while the run was under way: it stays as it was set"
    return str(CollectError(what, code="COL-0437"))


def not_looked_through(why: CollectError) -> str:
    """What is to be said where nobody knows what is wrong with the tree."""
    return str(
        CollectError(
            "not all was found out that may be wrong with the tree: {why}",
            "All that was read is stored; the next run looks at the tree again.",
            code="COL-0440",
            why=_in_short(why),
        )
    )


def not_tidied(why: CollectError) -> str:
    """What is to be said where what was is not kept, or what is old is."""
    return str(
        CollectError(
            "the tree as it is now was not kept, or what is old was not forgotten: {why}",
            "All that was read is stored; the next run forgets what is old.",
            code="COL-0441",
            why=_in_short(why),
        )
    )


def left_empty(of: Collection, cases: int) -> tuple[str, ...]:
    """What is to be said of a range in which there was no case: nothing else tells it from success."""
    if of.scope == EVERYTHING or cases:
        return ()
    found = CollectError(
        "no case is in the range: {scope}",
        "Nothing but directories was read. See what there is: collect tree {collection}",
        code="COL-0460",
        scope=", ".join(f"{name} {value}" for name, value in of.scope.model_dump(mode="json").items() if value),
        collection=of.name,
    )
    return (str(found),)


def ahead(collection: Collection) -> str:
    """Why a run reads everything whose watermark cannot be trusted."""
    return str(
        CollectError(
            "the watermark of {name} is later than its source's clock: everything is read",
            "Take it away: collect watermark reset {name}; until then each run reads everything.",
            code="COL-0438",
            name=collection.name,
        )
    )


def _of_some(count: int, what: str, remedy: str, code: str, **named: Any) -> tuple[str, ...]:
    """Nothing where it is true of no record."""
    return (str(CollectError(what, remedy, code=code, count=count, **named)),) if count else ()


def _in_short(why: CollectError) -> str:
    return f"{why.code}: {why.what}"
