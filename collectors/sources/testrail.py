"""TestRail, API version 2: sections become directories, cases become cases.

A page comes as an envelope `{offset, limit, size, _links, cases: [...]}` or, from old servers, as a bare list
without paging. The server tells no total, and may serve fewer records than asked for.

What is deleted meanwhile moves the rest of a list to smaller offsets, past a reader. So each page is asked for with the
last record of the one before, and windows are fixed by the ids at their ends: lists are in the order of ids.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from collectors.errors import Misconfigured, Rejected
from collectors.models import Json, Keys, Offsets, Page, Record, Stage
from collectors.outbound import BaseUrl, Http
from collectors.selecting import Selection

API = "/index.php?/api/v2/"
WHOLE = "all"
FEW_PAGES = 4
STAGES = {"directories": "sections", "cases": "cases"}
TEXT_FIELDS = frozenset({"custom_steps_separated", "custom_preconds", "custom_mission"})
STEP_FIELDS = frozenset({"custom_steps", "custom_expected"})
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
NEXT_OFFSET = re.compile(r"[?&]offset=(\d{1,18})(?!\d)", re.ASCII)
METADATA_FIELDS = (
    "type_id", "template_id", "milestone_id", "refs", "estimate", "created_by", "created_on", "updated_by", "updated_on"
)  # fmt: skip


class Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: BaseUrl = Field(description="address of the server", examples=["https://example.testrail.io"])
    project_id: int = Field(ge=1, description="the project to collect")
    suite_id: int | None = Field(None, ge=1, description="the suite, in projects that have several")
    username: str = Field(description="a user who may read the project", examples=["reader@example.com"])
    api_key: SecretStr = Field(description="that user's API key or password")


Position = tuple[int, int | None]  # an offset, and the id of the record that was read last before it


class Answer(NamedTuple):
    """Records, the offset after them (None: these were the last), and whether the server itself named it."""

    items: list[Any]
    following: int | None
    linked: bool


class TestRail:
    """Sections and cases of TestRail, by its API version 2."""

    Parameters = Parameters

    def __init__(self, parameters: Parameters, http: Http, page_size: int) -> None:
        self._parameters, self._http = parameters, http
        self._page_size = page_size

    @staticmethod
    def connection(parameters: Parameters) -> dict[str, Any]:
        return {"auth": (parameters.username, parameters.api_key.get_secret_value())}

    async def survey(self) -> list[Stage]:
        return [Stage(name=stage, extent=await self._extent(stage)) for stage in STAGES]

    async def select(self, wanted: Selection) -> list[Stage]:
        """Sections tell no time; cases by it. Few cases are one open window, which costs no counting."""
        bounds = {"updated_after": (wanted.since, -1), "updated_before": (wanted.until, 1)}
        only = "".join(f"&{name}={max(int(at) + beyond, 0)}" for name, (at, beyond) in bounds.items() if at is not None)
        few = only and not (await self._ask("cases", FEW_PAGES * self._page_size, 1, only)).items
        cases = Offsets(total=self._page_size) if few else await self._extent("cases", only)
        return [
            Stage(name="directories", extent=await self._extent("directories")),
            Stage(name="cases", extent=cases, within={"only": only} if only else {}),
        ]

    def changed_at(self, record: Record) -> float | None:
        return record.source_version or None

    async def pin(self, stage: str, spans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each window begins with the record that stands there now, and ends before the next one's.

        Where the list is in no order, only that it moved is noticed.
        """
        if not all("start" in span for span in spans):
            return list(spans)
        firsts = [await self._first_id(stage, span) for span in spans] if len(spans) > 1 else [None]
        starts = firsts[1:]
        if None in firsts or not _ascending(firsts):  # the first one, too: two windows tell no order by one start
            starts = [None for _ in starts]
        ends = zip([None, *starts], [*starts, None], strict=True)
        return [span | {"first": first, "end": end} for span, (first, end) in zip(spans, ends, strict=True)]

    async def exist(self, kind: str, ids: Sequence[str]) -> dict[str, bool]:
        method = "get_case" if kind == "case" else "get_section"
        path = f"{API}{method}/"
        found = {id: await self._http.exists(path + quote(id, safe=""), (400,), self._is_ours) for id in ids}
        return {id: still for id, still in found.items() if still is not None}

    def _is_ours(self, row: Any) -> bool:
        """One that was moved to another suite, or is kept as deleted, is gone from here."""
        if not isinstance(row, dict):
            return True
        ours = self._parameters.suite_id
        elsewhere = ours is not None and row.get("suite_id") not in (None, ours)
        return not elsewhere and not row.get("is_deleted")

    async def fetch(self, stage: str, span: dict[str, Any], cursor: Json) -> Page:
        if "keys" in span:
            return Page((await self._ask(stage, 0, self._page_size)).items, None)
        found = await self._found(stage, span, *_position(span, cursor))
        while not isinstance(found, Page):
            found = await self._found(stage, span, *found)
        return found

    async def _found(self, stage: str, span: dict[str, Any], offset: int, last: int | None) -> Page | Position:
        """The page that follows the record `last`, or where else it is to be looked for."""
        overlap = int("end" in span and last is not None and offset > 0)
        stop = None if span.get("end") else span["stop"]
        limit = (self._page_size if stop is None else min(self._page_size, stop - offset)) + overlap
        answer = await self._ask(stage, offset - overlap, limit, span.get("only", ""))
        fresh, whole = _after(answer.items, last) if overlap else (answer.items, True)
        if fresh is None:  # the list has moved: what was passed over stands further in front
            return max(offset - self._page_size, 0), last
        if overlap and not fresh and answer.following is not None:
            return answer.following, None
        if "end" in span and not (whole and _in_order(fresh, span["end"])):  # no id says where the shard ends
            stop, whole = span["stop"], False
        inside, at_end = _before(fresh, span.get("end")) if whole else (fresh, False)
        more = answer.following is not None and not at_end and (stop is None or answer.following < stop)
        if stop is not None:  # a server that takes its own page size gives more than was asked for: the next shard's
            inside = inside[: stop - offset]
        return Page(inside, _onward(span, answer.following, inside, last) if more else None, whole)

    def map(self, stage: str, item: Any) -> Record:
        return _directory(item) if stage == "directories" else _case(item)

    # ---- paging ----------------------------------------------------------------------------------------

    async def _first_id(self, stage: str, span: dict[str, Any]) -> int | None:
        items = (await self._ask(stage, span["start"], 1, span.get("only", ""))).items if "start" in span else []
        return _number(items[0]) if items else None

    async def _extent(self, stage: str, only: str = "") -> Offsets | Keys:
        """How much there is, found by doubling and halving on page boundaries with requests for one record."""
        first = (await self._ask(stage, 0, 1, only)).items
        if not first:
            return Offsets(total=0)
        filled, empty = 0, 1
        while found := (await self._ask(stage, empty * self._page_size, 1, only)).items:
            if found == first:
                return await self._unpaged(stage, first)
            filled, empty = empty, empty * 2
        while empty - filled > 1:
            middle = (filled + empty) // 2
            holds = (await self._ask(stage, middle * self._page_size, 1, only)).items
            filled, empty = (middle, empty) if holds else (filled, middle)
        start = filled * self._page_size
        total, following = start, start
        while following is not None:
            at = following
            items, following, _ = await self._ask(stage, at, self._page_size, only)
            total = at + len(items)
        return Offsets(total=total)

    async def _unpaged(self, stage: str, first: list[Any]) -> Keys:
        """The source answers every offset: it has one record and no paging, or cannot be paged."""
        items, _, linked = await self._ask(stage, 0, self._page_size)
        if items == first and self._page_size > 1 and not linked:
            return Keys(weights=((WHOLE, len(items)),))
        raise self._unpageable(STAGES[stage])

    async def _ask(self, stage: str, offset: int, limit: int, only: str = "") -> Answer:
        """`only`: what the source is to choose by, as a part of the query."""
        key = STAGES[stage]
        suite = f"&suite_id={self._parameters.suite_id}" if self._parameters.suite_id else ""
        query = f"get_{key}/{self._parameters.project_id}{suite}{only}&limit={limit}&offset={offset}"
        answer = await self._http.get(f"{API}{query}")
        if isinstance(answer, list):
            return Answer(answer, offset + len(answer) if answer else None, False)
        if not isinstance(answer, dict) or not isinstance(answer.get(key), list):
            raise Misconfigured(
                "{server} does not answer like TestRail: no list of {key}",
                "Check base_url, and that the server offers API version 2.",
                code="COL-0319",
                server=self._http.base_url,
                key=key,
            )
        if answer.get("offset", offset) != offset:
            raise self._unpageable(key)
        following = self._following(answer, offset)
        return Answer(answer[key], following, following is not None)

    def _unpageable(self, key: str) -> Misconfigured:
        return Misconfigured(
            "{server} ignores the offset it is asked for, so {key} cannot be paged",
            "Ask for all of them at once with a large strategy.page_size, or update the server.",
            code="COL-0318",
            server=self._http.base_url,
            key=key,
        )

    def _following(self, envelope: dict[str, Any], offset: int) -> int | None:
        links = envelope.get("_links")
        link = links.get("next") if isinstance(links, dict) else links
        if not link:
            return None
        if isinstance(link, str) and ABSOLUTE.match(link):
            self._http.same_origin(link)
        found = NEXT_OFFSET.search(link) if isinstance(link, str) else None
        if not found or int(found[1]) <= offset:
            raise Misconfigured(
                "{server} links from offset {offset} to {link}, which leads nowhere new",
                "Ask the source's owner: its paging is broken.",
                code="COL-0320",
                server=self._http.base_url,
                offset=offset,
                link=self._http.quoted(repr(link)),
            )
        return int(found[1])


# ---- lists that move -----------------------------------------------------------------------------------


def _position(span: dict[str, Any], cursor: Json) -> Position:
    """The offset to go on from, and the id before which everything was read."""
    if cursor is None:
        first = span.get("first")
        return span["start"], None if first is None else first - 1
    return (cursor[0], cursor[1]) if isinstance(cursor, list) else (int(cursor), None)


def _onward(span: dict[str, Any], following: int | None, read: list[Any], last: int | None) -> Json:
    if "end" not in span:
        return following
    number = _number(read[-1]) if read else last
    return [following, number]


def _after(items: list[Any], last: int) -> tuple[list[Any] | None, bool]:
    """What follows the record `last`, and whether nothing can be missing before it; None: that is further in front."""
    numbers = [_number(item) for item in items]
    if last in numbers:
        return items[numbers.index(last) + 1 :], True
    if None in numbers or not _ascending(numbers):
        return items[1:], False
    if not numbers or numbers[0] > last + 1:
        return None, True
    return [item for item, number in zip(items, numbers, strict=True) if number > last], True


def _before(items: list[Any], end: int | None) -> tuple[list[Any], bool]:
    """The items in front of the record `end`, and whether it was reached."""
    if end is None:
        return items, False
    inside = [item for item in items if (number := _number(item)) is None or number < end]
    return inside, len(inside) < len(items)


def _number(item: Any) -> int | None:
    value = item.get("id") if isinstance(item, dict) else None
    return value if type(value) is int else None


def _in_order(items: list[Any], end: int | None) -> bool:
    """Whether the ids grow, up to `end` and no other if they come as far."""
    numbers = [number for item in items if (number := _number(item)) is not None]
    beyond = next((number for number in numbers if end is not None and number >= end), end)
    return _ascending(numbers) and beyond == end


def _ascending(numbers: Sequence[Any]) -> bool:
    return all(one < other for one, other in pairwise(numbers))


# ---- mapping -------------------------------------------------------------------------------------------


def _directory(section: dict[str, Any]) -> Record:
    id = _id(section, "id")
    return Record(
        kind="directory",
        id=id,
        parent_id=_parent(section, "parent_id"),
        name=_name(section, "name", id),
        content={"description": section.get("description") or ""},
        metadata={"suite_id": section.get("suite_id"), "display_order": section.get("display_order")},
    )


def _case(case: dict[str, Any]) -> Record:
    id = _id(case, "id")
    return Record(
        kind="case",
        id=id,
        parent_id=_parent(case, "section_id"),
        name=_name(case, "title", id),
        content=_content(case),
        metadata=_metadata(case),
        source_version=case.get("updated_on") or 0,
        deleted=_flag(case, "is_deleted", id),
    )


def _metadata(case: dict[str, Any]) -> dict[str, Any]:
    labels = case.get("labels") or []
    metadata = {
        "tags": [label["title"] if isinstance(label, dict) else label for label in labels],
        "priority": case.get("priority_id"),
    }
    for name in METADATA_FIELDS:
        if (value := case.get(name)) is not None:
            metadata[name] = value
    return metadata


def _content(case: dict[str, Any]) -> dict[str, Any]:
    if separated := case.get("custom_steps_separated"):
        steps = [step.get("content") or "" for step in separated]
        expected = [step.get("expected") or "" for step in separated]
    else:
        steps = [case["custom_steps"]] if case.get("custom_steps") else []
        expected = [case["custom_expected"]] if case.get("custom_expected") else []
    content = {
        "description": case.get("custom_mission") or "",
        "preconditions": case.get("custom_preconds") or "",
        "steps": steps,
        "expectedResults": expected,
    }
    known = TEXT_FIELDS if separated else TEXT_FIELDS | STEP_FIELDS
    others = [name for name in case if name.startswith("custom_") and name not in known]
    if custom := {name: case[name] for name in others if case[name] is not None}:
        content["custom"] = custom
    return content


def _id(item: Any, field: str) -> str:
    value = item.get(field) if isinstance(item, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise Rejected(
            "missing-id", "has no usable {field} (found {found})", code="COL-0501", field=field, found=f"{value!r:.60}"
        )
    return str(value)


def _flag(item: dict[str, Any], field: str, id: str) -> bool:
    value = item.get(field)
    if value not in (None, 0, 1):
        found = f"{value!r:.60}"
        raise Rejected(
            "invalid-deleted",
            "{field} is neither 0 nor 1 (found {found})",
            id,
            code="COL-0511",
            field=field,
            found=found,
        )
    return bool(value)


def _parent(item: dict[str, Any], field: str) -> str | None:
    value = item.get(field)
    return None if value is None or (type(value) is int and value == 0) else _id(item, field)


def _name(item: dict[str, Any], field: str, id: str) -> str:
    value = item.get(field)
    if not isinstance(value, str) or not value.strip():
        raise Rejected("missing-name", "has no {field}", id, code="COL-0502", field=field)
    return value
