"""The tree of the sample source: kept as the JSON it is served as, and changed on request."""

import time
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal

import orjson
from pydantic import Field

from collectors.errors import CollectError, Rejected
from collectors.models import Kind, Record
from collectors.paths import below, derive
from collectors.sources.testrail import TestRail
from collectors.testing.composing import Composer, Item, case_item, section_item

NAME = {"directory": "name", "case": "title"}
PARENT = {"directory": "parent_id", "case": "section_id"}
STAGE = {"directory": "directories", "case": "cases"}
REVISION = " · r"

Verb = Literal["add", "update", "move", "delete", "restore"]
Name = Annotated[str, Field(pattern=r"\S")]


@dataclass(frozen=True)
class Step:
    content: str
    expected: str = ""


Content = str | list[Step]


class Unknown(CollectError):
    """There is no record of this id."""


class Impossible(CollectError):
    """The tree as it is forbids the change."""


class Listing:
    """All records of one kind in the order of their ids; each as its JSON, so that a page is a join."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.parents: dict[int, int | None] = {}
        self.ids: list[int] = []
        self._updated: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._last_id = 0

    def new_id(self) -> int:
        """Ids of deleted records do not come back."""
        return self._last_id + 1

    def put(self, item: Item) -> None:
        id = item["id"]
        if id not in self._bodies:
            insort(self.ids, id)
            self._last_id = max(self._last_id, id)
        # A copy, because what orjson returns holds on to its working buffer: 8 KB for a case of one.
        self._bodies[id] = bytes(memoryview(orjson.dumps(item)))
        self.parents[id] = item[PARENT[self.kind]]
        self._updated[id] = item.get("updated_on", 0)

    def drop(self, id: int) -> None:
        del self._bodies[id], self.parents[id], self._updated[id], self.ids[bisect_left(self.ids, id)]

    def body(self, id: int) -> bytes:
        if id not in self._bodies:
            raise Unknown(f"There is no {self.kind} {id}", "Take an id that get_cases or get_sections lists.")
        return self._bodies[id]

    def get(self, id: int) -> Item:
        return orjson.loads(self.body(id))

    def updated(self, after: int, before: int) -> list[int]:
        """The ids of what was updated between two moments, both left out."""
        return [id for id in self.ids if after < self._updated[id] < before]

    def page(self, offset: int, limit: int, ids: Sequence[int]) -> list[bytes]:
        return [self._bodies[id] for id in ids[offset : offset + limit]]

    def __len__(self) -> int:
        return len(self.ids)

    def live(self) -> Iterator[Record]:
        """What a collector makes of the records that are neither damaged nor marked as deleted."""
        for body in self._bodies.values():
            with suppress(Rejected):
                # The mapping needs nothing of a collector that is connected to a server.
                record = TestRail.map(None, STAGE[self.kind], orjson.loads(body))
                if not record.deleted:
                    yield record


class Tree:
    """Directories and cases, and the five ways they change."""

    def __init__(
        self, cases: int, directories: int, seed: int, damaged: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self.directories, self.cases = Listing("directory"), Listing("case")
        self._seed, self._changes = seed, 0
        self._flagged: set[int] = set()
        self._gone: dict[tuple[Kind, int], list[tuple[Kind, Item]]] = {}  # with all that went with each
        composer = Composer(f"{seed}/{cases}/{directories}")
        for section in composer.sections(directories):
            self.directories.put(section)
        for case in composer.cases(cases):
            self.cases.put(case | ({"title": ""} if case["id"] <= damaged else {}))

    def listing(self, kind: Kind) -> Listing:
        return self.directories if kind == "directory" else self.cases

    def expected(self) -> list[dict[str, str]]:
        """What a collector that missed nothing holds."""
        places = derive((record.id, record.parent_id, record.name) for record in self.directories.live())
        held = [_expectation(record, places[record.id].path) for record in self.directories.live()]
        for record in self.cases.live():
            held.append(_expectation(record, below(places[record.parent_id], record.name).path))
        return held

    # ---- one change ------------------------------------------------------------------------------------

    def add(self, kind: Kind, parent_id: int | None, name: Name, content: Content | None = None) -> int:
        depth = self._depth_below(kind, parent_id)
        id, now = self.listing(kind).new_id(), int(self._clock())
        item = section_item(id, parent_id, depth, name) if kind == "directory" else case_item(id, parent_id, now, name)
        self.listing(kind).put(item | _content(kind, content))
        return id

    def update(self, kind: Kind, id: int, name: Name | None = None, content: Content | None = None) -> int:
        """Without a name and content the name gets a revision number."""
        item = self.listing(kind).get(id)
        changes = _content(kind, content)
        if name is not None or content is None:
            changes[NAME[kind]] = name or _revised(item[NAME[kind]])
        if kind == "case":
            changes["updated_on"] = self._later(item)
        self.listing(kind).put(item | changes)
        return id

    def _later(self, item: Item) -> int:
        return max(int(self._clock()), item["updated_on"] + 1)

    def move(self, kind: Kind, id: int, parent_id: int | None) -> int:
        """As in TestRail, `updated_on` stays as it is."""
        item = self.listing(kind).get(id)
        depth = self._depth_below(kind, parent_id)
        if kind == "directory":
            self._deepen(self._subtree(id, forbidden=parent_id), depth - item["depth"])
            item["depth"] = depth
        self.listing(kind).put(item | {PARENT[kind]: parent_id})
        return id

    def delete(self, kind: Kind, id: int, flag: bool = False) -> int:
        """A directory vanishes with all below it; a case vanishes or, flagged, stays listed as deleted."""
        item = self.listing(kind).get(id)
        if flag and kind == "directory":
            raise Impossible("A directory cannot be flagged as deleted", "Leave out flag, or name a case.")
        if kind == "directory":
            self._gone[kind, id] = self._delete_below(self._subtree(id))
        elif flag:
            self.cases.put(item | {"is_deleted": 1, "updated_on": self._later(item)})
            self._flagged.add(id)
        else:
            self._gone[kind, id] = [(kind, item)]
            self.cases.drop(id)
        return id

    def restore(self, kind: Kind, id: int) -> int:
        """What `delete` took comes back, a directory with all that was below it; cases are dated anew."""
        if not (again := self._gone.pop((kind, id), [])):
            return self._unflag(kind, id)
        depth = self._depth_below(kind, again[0][1][PARENT[kind]])
        for of_kind, item in again:
            self.listing(of_kind).put(item | ({"updated_on": self._later(item)} if of_kind == "case" else {}))
        if kind == "directory":
            self._deepen(self._subtree(id), depth - again[0][1]["depth"])
        return id

    def _unflag(self, kind: Kind, id: int) -> int:
        if kind == "directory" or id not in self._flagged:
            raise Impossible(f"No {kind} {id} was deleted", "Take the id that was given to delete.")
        item = self.cases.get(id)
        self.cases.put(item | {"is_deleted": 0, "updated_on": self._later(item)})
        self._flagged.remove(id)
        return id

    # ---- many changes ----------------------------------------------------------------------------------

    def several(self, verb: Verb, count: Annotated[int, Field(ge=1)], flag: bool = False) -> list[int]:
        """Change `count` cases, chosen by the seed and the number of such calls before."""
        if flag and verb != "delete":
            raise Impossible(f"flag means nothing to {verb}", "It belongs to delete.")
        if verb == "restore":
            raise Impossible("Only what is named can be restored", "Name its kind and id.")
        random = Random(f"{self._seed}/{self._changes}")
        homes = sorted(self.directories.parents)
        if len(homes) < (2 if verb == "move" else 1):
            raise Impossible(f"There are too few directories to {verb} cases", "Add directories first.")
        self._changes += 1
        if verb == "add":
            return [self.add("case", random.choice(homes), f"新增用例 Added case {n + 1}") for n in range(count)]
        chosen = self._chosen(random, count)
        for id in chosen:
            if verb == "move":
                self.move("case", id, random.choice([home for home in homes if home != self.cases.parents[id]]))
            elif verb == "update":
                self.update("case", id)
            else:
                self.delete("case", id, flag)
        return chosen

    def _chosen(self, random: Random, count: int) -> list[int]:
        live = [id for id in self.cases.parents if id not in self._flagged]
        if count > len(live):
            raise Impossible(f"There are only {len(live)} cases, not {count}", "Ask for a smaller count.")
        return sorted(random.sample(live, count))

    # ---- the tree --------------------------------------------------------------------------------------

    def _depth_below(self, kind: Kind, parent_id: int | None) -> int:
        if parent_id is not None:
            return self.directories.get(parent_id)["depth"] + 1
        if kind == "case":
            raise Impossible("A case needs a directory", "Name one as parent_id.")
        return 0

    def _subtree(self, top: int, forbidden: int | None = None) -> list[int]:
        children = defaultdict(list)
        for id, parent in self.directories.parents.items():
            children[parent].append(id)
        found = [top]
        for id in found:
            found += children[id]
        if forbidden in found:
            raise Impossible(f"Directory {top} cannot move below itself", f"{forbidden} is part of it; name another.")
        return found

    def _deepen(self, ids: list[int], levels: int) -> None:
        for id in ids:
            item = self.directories.get(id)
            self.directories.put(item | {"depth": item["depth"] + levels})

    def _delete_below(self, gone: list[int]) -> list[tuple[Kind, Item]]:
        """What it was, the topmost directory first."""
        homes = set(gone)
        cases = [id for id, home in self.cases.parents.items() if home in homes]
        ids: list[tuple[Kind, int]] = [*(("directory", id) for id in gone), *(("case", id) for id in cases)]
        found = [(kind, self.listing(kind).get(id)) for kind, id in ids]
        for kind, id in ids:
            self.listing(kind).drop(id)
        return found


def _content(kind: Kind, content: Content | None) -> Item:
    if content is None:
        return {}
    if kind == "case":
        steps = [Step(content)] if isinstance(content, str) else content
        return {"custom_steps_separated": steps}
    if not isinstance(content, str):
        raise Impossible("A directory has no steps", "Its content is a text, its description.")
    return {"description": content}


def _revised(name: str) -> str:
    name, _, revision = name.partition(REVISION)
    return f"{name}{REVISION}{int(revision) + 1 if revision.isdecimal() else 1}"


def _expectation(record: Record, path: str) -> dict[str, str]:
    return {"kind": record.kind, "id": record.id, "path": path, "content_hash": record.content_hash}
