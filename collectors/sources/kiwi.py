"""Kiwi TCMS over JSON-RPC: plans become directories, cases become cases below the lowest plan they are in.

The API neither pages nor counts, but takes any Django look-up, and many calls in one request. Cases are read in
windows of their ids ("0-250": after 0, up to 250; the last is open, "2000-"). The windows cover all ids, so that
each case is read once, in no plan or many, and wherever it is put meanwhile.
"""

import asyncio
import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from collectors.errors import CollectError, Misconfigured, NotAllowed, Rejected, Transient
from collectors.exact_json import Flawed, flaw_outside_records
from collectors.models import Json, Keys, Page, Record, Stage
from collectors.outbound import BaseUrl, Http

ENDPOINT = "/json-rpc/"
MOST_CALLS = 50  # in one request: the first byte comes when the last call is done
EVERYTHING = "all"
LARGEST_ID = 2**31 - 1
INTERNAL_ERROR = -32603
API = "The source has to be a Kiwi TCMS, version 12 or later."
BROKEN = "Ask the source's owner; a smaller strategy.page_size may help."

PLAN_METADATA = {
    "product": "product__name", "version": "product_version__value", "type": "type__name", "is_active": "is_active",
    "author": "author__username", "create_date": "create_date", "extra_link": "extra_link",
}  # fmt: skip
CASE_METADATA = {
    "priority": "priority__value", "status": "case_status", "status_name": "case_status__name",
    "category": "category__name", "is_automated": "is_automated", "requirement": "requirement",
    "author": "author__username", "default_tester": "default_tester__username", "reviewer": "reviewer__username",
    "setup_duration": "setup_duration", "testing_duration": "testing_duration",
    "create_date": "create_date", "extra_link": "extra_link",
}  # fmt: skip
CASE_CONTENT = {"description": "text", "notes": "notes", "script": "script", "arguments": "arguments"}

HEADING = re.compile(r"\s*\*\*(?P<word>[\w ]+):?\*\*:?(?P<rest>.*)")
MARKER = re.compile(r"\s*(?:\d+[.)]|[-*+])\s+")
SECTIONS = {
    "when": "steps", "actions": "steps", "steps to reproduce": "steps",
    "then": "expectedResults", "expected result": "expectedResults", "expected results": "expectedResults",
}  # fmt: skip

Call = tuple[str, list[Any]]


class Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: BaseUrl = Field(description="address of the server", examples=["https://kiwi.example.com"])
    username: str = Field(min_length=1, description="a user who may view plans, cases and tags", examples=["collector"])
    password: SecretStr = Field(description="that user's password")


class Kiwi:
    """Plans and cases of Kiwi TCMS, by JSON-RPC."""

    Parameters = Parameters

    def __init__(self, parameters: Parameters, http: Http, page_size: int) -> None:
        self._parameters, self._http = parameters, http
        self._page_size = page_size
        self._log_ins, self._logging_in = 0, asyncio.Lock()

    @staticmethod
    def connection(parameters: Parameters) -> dict[str, Any]:
        server = urlsplit(parameters.base_url)
        headers = {"Referer": f"{parameters.base_url}/", "Origin": f"{server.scheme}://{server.netloc}"}
        return {"headers": headers, "secrets": [parameters.password.get_secret_value()]}

    async def survey(self) -> list[Stage]:
        (plans,) = await self._ask([("TestPlan.filter", [{}])])
        directories = Keys(weights=((EVERYTHING, len(plans)),) if plans else ())
        cases = Keys(weights=await self._weights())
        return [Stage(name="directories", extent=directories), Stage(name="cases", extent=cases)]

    async def fetch(self, stage: str, span: dict[str, Any], cursor: Json) -> Page:
        if stage == "directories":
            return await self._plans()
        position, after = cursor or (0, None)
        return await self._cases(span["keys"], position, after)

    async def fetch_ids(self, stage: str, ids: Sequence[str]) -> Page:
        if stage == "directories":
            return await self._plans()
        numbers = [int(id) for id in ids]
        return Page(await self._placed_cases(lambda field: {f"{field}__in": numbers}), None)

    async def exist(self, kind: str, ids: Sequence[str]) -> dict[str, bool]:
        """Whoever may see one case may see all: what is not there is gone."""
        model = "TestPlan" if kind == "directory" else "TestCase"
        (rows,) = await self._ask([(f"{model}.filter", [{"id__in": [int(id) for id in ids]}])])
        there = {str(_number(row)) for row in rows}
        damaged = any(isinstance(row, Flawed) for row in rows)
        return {id: True for id in ids if id in there} | {id: False for id in ids if id not in there and not damaged}

    def map(self, stage: str, item: Any) -> Record:
        if isinstance(item["row"], Flawed):
            raise item["row"].why
        return _directory(**item) if stage == "directories" else _case(**item)

    # ---- pages -----------------------------------------------------------------------------------------

    async def _plans(self) -> Page:
        plans, tags = await self._ask([("TestPlan.filter", [{}]), ("Tag.filter", [{"plan__isnull": False}])])
        named = _grouped((tag["plan"], tag["name"]) for tag in tags)
        return Page([{"row": plan, "tags": named[_number(plan)]} for plan in plans], None)

    async def _cases(self, keys: Sequence[str], position: int, after: int | None) -> Page:
        start, stop = _bounds(keys[position])
        after = start if after is None else after
        until = min(after + self._page_size, stop)
        items = await self._placed_cases(partial(_window, after=after, until=until))
        if (onward := await self._onward(until, stop)) is not None:
            return Page(items, [position, onward])
        return Page(items, [position + 1, None] if position + 1 < len(keys) else None)

    async def _placed_cases(self, within: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
        """The cases whose ids are `within`: a look-up of Kiwi's for a field that holds ids of cases."""
        cases, tags, plans = await self._ask(
            [
                ("TestCase.filter", [within("id")]),
                ("Tag.filter", [within("case__id")]),
                ("TestPlan.filter", [within("cases__id")]),
            ]
        )
        placed = await self._placements([plan["id"] for plan in plans], within("case__id"))
        named = _grouped((tag["case"], tag["name"]) for tag in tags)
        return [{"row": case, "plans": placed[_number(case)], "tags": named[_number(case)]} for case in cases]

    async def _placements(self, plans: Sequence[int], within: dict[str, Any]) -> dict[int, list[int]]:
        """The plans of each case. An answer tells only its cases, so every plan is a call of its own."""
        sortkeys = await self._ask([("TestCase.sortkeys", [{"plan": plan} | within]) for plan in plans])
        return _grouped((int(case), plan) for plan, cases in zip(plans, sortkeys, strict=True) for case in cases)

    # ---- where cases are -------------------------------------------------------------------------------

    async def _weights(self) -> tuple[tuple[str, int], ...]:
        """Windows that cover all ids together. Only cases in plans are counted; a window without is taken for full."""
        starts = await self._filled()
        windows = list(pairwise([0, *starts[1:], LARGEST_ID])) if starts else []
        placed = await self._ask([("TestCase.sortkeys", [_window("case__id", *window)]) for window in windows])
        keys = [f"{start}-{'' if stop == LARGEST_ID else stop}" for start, stop in windows]
        return tuple((key, len(cases) or self._page_size) for key, cases in zip(keys, placed, strict=True))

    async def _filled(self) -> list[int]:
        """Where windows of a page's size hold cases: all ids are cut in sixteen, and what holds cases again."""
        starts, width = [0], self._page_size
        while width < LARGEST_ID // 16:
            width *= 16
        while width > self._page_size:
            width //= 16
            edges = (start + part * width for start in starts for part in range(16))
            starts = await self._holding([(edge, edge + width) for edge in edges])
        return starts

    async def _onward(self, after: int, stop: int) -> int | None:
        """Where a window goes on behind its first page: leaps of doubled length cross a gap in one request."""
        edges = [edge for bit in range(31) if (edge := after + 2**bit - 1) < stop]
        holding = await self._holding(list(pairwise([*edges, stop])))
        return holding[0] if holding else None

    async def _holding(self, windows: Sequence[tuple[int, int]]) -> list[int]:
        """Where the windows start that hold cases; asked of the statuses, which are few and small."""
        found = await self._ask([("TestCaseStatus.filter", [_window("testcase__id", *window)]) for window in windows])
        return [start for (start, _), statuses in zip(windows, found, strict=True) if statuses]

    # ---- calls -----------------------------------------------------------------------------------------

    async def _ask(self, calls: Sequence[Call]) -> list[Any]:
        if not self._log_ins:
            await self._log_in(0)
        log_ins = self._log_ins
        try:
            return await self._answers(calls)
        except NotAllowed:
            await self._log_in(log_ins)
            return await self._answers(calls)

    async def _log_in(self, known: int) -> None:
        """Begin a session, unless a neighbour has begun one since `known`."""
        async with self._logging_in:
            if self._log_ins == known:
                password = self._parameters.password.get_secret_value()
                await self._answers([("Auth.login", [self._parameters.username, password])])
                self._log_ins += 1

    async def _answers(self, calls: Sequence[Call]) -> list[Any]:
        answers = []
        for first in range(0, len(calls), MOST_CALLS):
            answers += await self._request(calls[first : first + MOST_CALLS])
        return answers

    async def _request(self, calls: Sequence[Call]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(calls, 1)
        ]
        return await self._http.post(ENDPOINT, body, partial(self._results, calls))

    def _results(self, calls: Sequence[Call], replies: Any) -> list[Any]:
        found = replies if isinstance(replies, list) else [replies]
        numbered = {_number(reply): reply for reply in found if isinstance(reply, dict)}
        whole = numbered.get(None, {})
        return [self._result(method, numbered.get(number, whole)) for number, (method, _) in enumerate(calls, 1)]

    def _result(self, method: str, reply: Any) -> Any:
        server = self._http.base_url
        if why := flaw_outside_records(reply):
            raise Transient("{server} sent broken JSON ({why})", BROKEN, code="COL-0313", server=server, why=why.what)
        if "error" in reply:
            raise self._failure(method, reply["error"])
        if reply.get("result") is None:
            raise Misconfigured(
                "{server} gave no result for {method}", API, code="COL-0321", server=server, method=method
            )
        return _unescaped(reply["result"])

    def _failure(self, method: str, error: Any) -> CollectError:
        message, code = (error.get("message"), error.get("code")) if isinstance(error, dict) else (error, None)
        said = html.unescape(str(message))
        facts = {
            "server": self._http.base_url,
            "user": self._parameters.username,
            "method": method,
            "said": self._http.quoted(said),
        }
        if "Authentication failed" in said:
            what, remedy = "{server} does not let {user} call {method}", "Give that user the permission to view."
            return NotAllowed(what, remedy, code="COL-0322", **facts)
        if method == "Auth.login" and "password" in said:
            what, remedy = '{server} refused to log in {user}: "{said}"', "Check user name and password."
            return Misconfigured(what, remedy, code="COL-0323", **facts)
        what = '{server} failed at {method}: "{said}"'
        if code == INTERNAL_ERROR:
            return Transient(what, "Look into the server's own log.", code="COL-0324", **facts)
        return Misconfigured(what, API, code="COL-0324", **facts)


def _number(row: Any) -> int | None:
    """The id of a row or reply, if it is a whole one."""
    found = row.get("id") if isinstance(row, dict) else None
    return found if isinstance(found, int) else None


def _bounds(key: str) -> tuple[int, int]:
    start, _, stop = key.partition("-")
    return int(start), int(stop or LARGEST_ID)


def _window(field: str, after: int, until: int) -> dict[str, int]:
    return {f"{field}__gt": after, f"{field}__lte": until}


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups = defaultdict(set)
    for key, value in pairs:
        groups[key].add(value)
    return defaultdict(list, {key: sorted(values) for key, values in groups.items()})


def _unescaped(value: Any) -> Any:
    """Kiwi escapes all text for web pages, even here; a record holds what its author wrote."""
    match value:
        case Flawed():
            return value
        case str():
            return html.unescape(value)
        case list():
            return [_unescaped(part) for part in value]
        case dict():
            return {key: _unescaped(part) for key, part in value.items()}
    return value


# ---- records -----------------------------------------------------------------------------------------------


def _directory(row: dict[str, Any], tags: list[str]) -> Record:
    plan_id, name = _identity(row, "name")
    return Record(
        kind="directory",
        id=plan_id,
        parent_id=None if row["parent"] is None else _id(row["parent"], "parent"),
        name=name,
        content={"description": row["text"] or ""},
        metadata={"tags": tags} | {key: row.get(field) for key, field in PLAN_METADATA.items()},
    )


def _case(row: dict[str, Any], plans: list[int], tags: list[str]) -> Record:
    case_id, name = _identity(row, "summary")
    parent, *others = [_id(plan, "plan") for plan in plans] or [None]
    return Record(
        kind="case",
        id=case_id,
        parent_id=parent,
        name=name,
        content={key: row.get(field) or "" for key, field in CASE_CONTENT.items()} | _sections(row.get("text") or ""),
        metadata={"tags": tags, "plans": others} | {key: row.get(field) for key, field in CASE_METADATA.items()},
    )


def _identity(row: dict[str, Any], field: str) -> tuple[str, str]:
    id = _id(row.get("id"), "id")
    if not row.get(field):
        raise Rejected("missing-name", "has no {field}", id, code="COL-0502", field=field)
    return id, row[field]


def _id(value: Any, field: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        what = "has no usable {field} (found {found})"
        raise Rejected("missing-id", what, code="COL-0501", field=field, found=f"{value!r:.60}")
    return str(value)


def _sections(text: str) -> dict[str, list[str]]:
    """Steps and expected results of a text that follows one of Kiwi's templates. The description keeps all of it."""
    found: dict[str, list[str]] = {"steps": [], "expectedResults": []}
    section: list[str] | None = None
    for line in text.splitlines():
        heading, marker = HEADING.fullmatch(line), MARKER.match(line)
        if heading and (word := heading["word"].strip().lower()) not in ("and", "but"):
            section = found.get(SECTIONS.get(word, ""))
        content = (heading["rest"] if heading else line[marker.end() :] if marker else line).strip()
        if section is not None and content:
            _append(section, content, begins=bool(heading or marker))
    return found


def _append(items: list[str], line: str, begins: bool) -> None:
    """A line without a marker goes on with the item before it."""
    if begins or not items:
        items.append(line)
    else:
        items[-1] += f"\n{line}"
