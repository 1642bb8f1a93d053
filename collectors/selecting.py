"""What of a source a run is about: all of it, what changed since a moment, or a part."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from collectors.errors import CollectError, Misconfigured
from collectors.interfaces import Collector, Selective
from collectors.models import Collection, Json, Model, Record, Stage, Strategy
from collectors.paths import derive
from collectors.planning import plan
from collectors.reading import sift


class Selection(Model):
    """Cases for which all of it holds, each end included. Directories are always read whole.

    `since` and `until` are seconds since 1970 by the source's clock; `directories` those a case has to stand in.
    """

    since: float | None = None
    until: float | None = None
    first: int | None = None
    last: int | None = None
    directories: tuple[str, ...] | None = None
    note: str | None = None  # why an incremental run reads everything

    def takes(self, changed_at: Callable[[Record], float | None]) -> Callable[[Record], bool]:
        """Whether a record is among them; one of which nobody knows when it changed is, whatever the time."""
        inside = None if self.directories is None else frozenset(self.directories)

        def taken(record: Record) -> bool:
            if record.kind == "directory":
                return True
            at = changed_at(record) if (self.since, self.until) != (None, None) else None
            within_time = at is None or _within(at, self.since, self.until)
            return within_time and self._numbered(record.id) and (inside is None or record.parent_id in inside)

        return taken

    def _numbered(self, id: str) -> bool:
        if (self.first, self.last) == (None, None):
            return True
        return id.isascii() and id.isdecimal() and _within(int(id), self.first, self.last)


WHOLE = Selection()
DIRECTORIES = "directories"  # the stage
ENDING = re.compile(r"(?<!\\)((?:\\\\)*)/+\Z")  # slashes that belong to no name


def _within(value: float, first: float | None, last: float | None) -> bool:
    return (first is None or value >= first) and (last is None or value <= last)


async def wanted(collection: Collection, watermark: int | None, collector: Collector) -> Selection:
    """What a run of this mode is about; `watermark` in microseconds since 1970.

    Raises Misconfigured when the source cannot be asked for it, or has no such directory.
    """
    match collection.mode:
        case "incremental":
            return _since(collection, watermark, collector)
        case "range":
            return await _of_scope(collection, collector)
    return WHOLE


def chosen(collection: Collection, selection: str | None) -> Selection:
    """What is kept of all that is read: a range alone leaves the rest out."""
    return Selection.model_validate_json(selection) if selection and collection.mode == "range" else WHOLE


async def surveyed(collector: Collector, selection: Selection) -> Sequence[Stage]:
    whole = selection == WHOLE or selection.note is not None
    return await (collector.select(selection) if isinstance(collector, Selective) and not whole else collector.survey())


def changed_at(collector: object) -> Callable[[Record], float | None]:
    return collector.changed_at if isinstance(collector, Selective) else lambda record: None


def _since(collection: Collection, watermark: int | None, collector: Collector) -> Selection:
    why = None
    if not isinstance(collector, Selective):
        what = "{collector} cannot be asked for what changed: everything is read, and compared"
        why = CollectError(what, code="COL-0419", collector=collection.collector)
    elif watermark is None:
        what = "{name} has no watermark, or one of another source: everything is read"
        remedy = "The next incremental run reads what changed."
        why = CollectError(what, remedy, code="COL-0420", name=collection.name)
    if why:
        return Selection(note=str(why))
    assert watermark is not None
    return Selection(since=max(watermark / 1_000_000 - collection.strategy.overlap, 0.0))


async def _of_scope(collection: Collection, collector: Collector) -> Selection:
    scope = collection.scope
    if (scope.since or scope.until) and not isinstance(collector, Selective):
        raise Misconfigured(
            "{collector} does not tell when a case was changed, so since and until mean nothing to it",
            "Name a part by under or ids.",
            code="COL-0272",
            collector=collection.collector,
        )
    first, last = scope.bounds
    inside = None
    if scope.under:
        directories = [each async for each in _directories(collector, collection.strategy)]
        inside = _subtree(directories, scope.under)
    since, until = (moment and moment.timestamp() for moment in (scope.since, scope.until))
    return Selection(since=since, until=until, first=first, last=last, directories=inside)


async def _directories(collector: Collector, strategy: Strategy) -> AsyncIterator[tuple[str, str | None, str]]:
    """As the source has them now: what was collected before may hang elsewhere by now."""
    stages = [stage for stage in await collector.survey() if stage.name == DIRECTORIES]
    for shard in plan(stages, strategy):
        cursor: Json = None
        while True:
            page = await collector.fetch(shard.stage, shard.span, cursor)
            for record in sift(collector, shard.stage, page.items)[0]:
                yield record.id, record.parent_id, record.name
            if (cursor := page.cursor) is None:
                break


def _subtree(directories: Iterable[tuple[str, str | None, str]], path: str) -> tuple[str, ...]:
    """The ids of the directories with this path and of all below them, of (id, parent id, name) in any order.

    Raises Misconfigured, which says how much of the path is there.
    """
    rows = list(directories)
    places = derive(rows)
    wanted = "/" + ENDING.sub(r"\1", path).lstrip("/")
    if wanted == "/":
        return tuple(id for id, place in places.items() if place)
    found = {id for id, place in places.items() if place and place.path == wanted}
    if not found:
        raise _not_there(wanted, rows, {id: place.path for id, place in places.items() if place})
    inside = found | _below(found, rows)
    return tuple(id for id, place in places.items() if place and id in inside)


def _below(tops: Iterable[str], directories: Iterable[tuple[str, str | None, str]]) -> set[str]:
    """By their parents: the paths of those that lie deep are shortened."""
    children: defaultdict[str | None, list[str]] = defaultdict(list)
    for id, parent, _ in directories:
        children[parent].append(id)
    found, left = set(), list(tops)
    while left:
        more = children.pop(left.pop(), [])
        found.update(more)
        left += more
    return found


def _not_there(path: str, directories: Iterable[tuple[str, str | None, str]], paths: dict[str, str]) -> Misconfigured:
    parts, known = path.split("/"), set(paths.values())
    there = next((head for end in range(len(parts) - 1, 1, -1) if (head := "/".join(parts[:end])) in known), "/")
    above = {None} if there == "/" else {id for id, each in paths.items() if each == there}
    below = sorted(paths[id] for id, parent, _ in directories if parent in above and id in paths)
    return Misconfigured(
        "the source has no directory {path}; {there} is there, with {below} below it",
        "Name a directory as collect tree shows it, a slash in a name as \\/.",
        code="COL-0271",
        path=path,
        there=there,
        below=", ".join(below[:5]) or "nothing",
    )
