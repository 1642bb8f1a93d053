"""The contract is kept by a good collector, and each way to break it is noticed by the check that is meant to."""

import os
import time

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from collectors.errors import CollectError, Misconfigured, Rejected, Transient
from collectors.models import Keys, Offsets, Page, Record, Stage
from collectors.outbound import BaseUrl
from collectors.testing import collector_contract
from collectors.testing.collector_contract import CollectorContract
from collectors.testing.serving import served

TOKEN = "s3cr3t-word"
CHECKS = sorted(name for name in vars(CollectorContract) if name.startswith("test_"))


def shop(items):
    """Serves a list in pages, to who has the token."""

    async def listed(request):
        if request.headers.get("x-token") != TOKEN:
            return JSONResponse({"error": "who are you?"}, 403)
        start, stop = (int(request.query_params[name]) for name in ("start", "stop"))
        return JSONResponse({"items": items[start:stop], "total": len(items)})

    return Starlette(routes=[Route("/items", listed)])


class Good:
    """The items of a shop."""

    class Parameters(BaseModel):
        model_config = ConfigDict(extra="forbid")
        base_url: BaseUrl
        token: SecretStr

    def __init__(self, parameters, http, page_size):
        self.parameters, self.http, self.page_size = parameters, http, page_size

    @staticmethod
    def connection(parameters):
        return {"headers": {"X-Token": parameters.token.get_secret_value()}}

    async def ask(self, start, stop):
        answer = await self.http.get(f"/items?start={start}&stop={stop}")
        if "items" not in answer:
            raise Misconfigured("this is no shop")
        return answer

    async def survey(self):
        return [Stage(name="cases", extent=Offsets(total=(await self.ask(0, 0))["total"]))]

    async def fetch(self, stage, span, cursor):
        start = cursor or span["start"]
        stop = min(start + self.page_size, span["stop"] or 2**31)
        found = await self.ask(start, stop)
        return Page(found["items"], stop if stop < min(span["stop"] or 2**31, found["total"]) else None)

    def map(self, stage, item):
        if not isinstance(item["id"], str):
            raise Rejected("missing-id", "has no id")
        return Record(kind="case", id=item["id"], name=item["name"])


class Lax(Good):
    class Parameters(BaseModel):
        base_url: BaseUrl
        token: SecretStr


class Open(Good):
    class Parameters(Good.Parameters):
        token: str

    @staticmethod
    def connection(parameters):
        return {"headers": {"X-Token": parameters.token}}


class Silent(Good):
    __doc__ = None


class Skipping(Good):
    """Begins a page one too late."""

    async def fetch(self, stage, span, cursor):
        return await super().fetch(stage, span, cursor and cursor + 1)


class Repeating(Good):
    """Begins a page one too early."""

    async def fetch(self, stage, span, cursor):
        page = await super().fetch(stage, span, cursor)
        return Page(page.items[-1:] + page.items, page.cursor)


class Unbounded(Good):
    """Reads on beyond its span."""

    async def fetch(self, stage, span, cursor):
        return await super().fetch(stage, span | {"stop": None}, cursor)


class Circling(Good):
    """Comes back to where it was."""

    async def fetch(self, stage, span, cursor):
        page = await super().fetch(stage, span, cursor)
        return Page(page.items, page.cursor or span["start"])


class Remembering(Good):
    """Counts pages by itself instead of in the cursor."""

    at = 0

    async def fetch(self, stage, span, cursor):
        self.at = span["start"] if cursor is None else self.at
        page = await super().fetch(stage, span, self.at)
        self.at = page.cursor or 0
        return Page(page.items, None if page.cursor is None else {"after": self.at})


class Tupled(Good):
    """A cursor that comes back from JSON as a list."""

    async def fetch(self, stage, span, cursor):
        page = await super().fetch(stage, span, cursor and cursor[0])
        return Page(page.items, page.cursor and (page.cursor,))


class Dated(Good):
    """Writes into records when it read them."""

    def map(self, stage, item):
        return Record(kind="case", id=item["id"], name=item["name"], metadata={"read": os.urandom(4).hex()})


class Unsteady(Good):
    """Names records anew each time."""

    def map(self, stage, item):
        return Record(kind="case", id=item["id"] + os.urandom(4).hex(), name=item["name"])


class Eager(Good):
    """Plans where there is nothing."""

    async def survey(self):
        return [Stage(name="cases", extent=Keys(weights=(("all", 0),)))]


class Blind(Good):
    """Sees nothing."""

    async def survey(self):
        return [Stage(name="cases", extent=Offsets(total=0))]


class Inventive(Good):
    """Makes a record of anything."""

    def map(self, stage, item):
        return Record(kind="case", id="1", name=str(item))


class Exiting(Good):
    """Ends the process for what it cannot map."""

    def map(self, stage, item):
        try:
            return super().map(stage, item)
        except ValueError:
            raise SystemExit("no") from None


class Nameless(Good):
    """Takes None for an id."""

    def map(self, stage, item):
        return super().map(stage, item | {"id": str(item["id"])})


class Trusting(Good):
    """Takes every program for its source."""

    async def ask(self, start, stop):
        return {"items": [], "total": 0} | await self.http.get(f"/items?start={start}&stop={stop}")


class Drifting(Good):
    """Serves items that differ each time, to a mapping that does not look there."""

    async def fetch(self, stage, span, cursor):
        page = await super().fetch(stage, span, cursor)
        return Page([item | {"at": os.urandom(4)} for item in page.items], page.cursor)


class Hanging(Good):
    """Never finishes with a record without a name."""

    def map(self, stage, item):
        if not item:
            time.sleep(2)
        raise Rejected("no", "no")


class Swallowing(Good):
    """Takes a broken source for an empty one."""

    async def ask(self, start, stop):
        try:
            return await super().ask(start, stop)
        except Transient:
            return {"items": [], "total": 0}


class Hopeful(Good):
    """Takes wrong credentials for something that passes."""

    async def ask(self, start, stop):
        try:
            return await super().ask(start, stop)
        except Misconfigured as error:
            raise Transient("later") from error


class Telling(Good):
    """Shows the secret when it is refused."""

    async def ask(self, start, stop):
        try:
            return await super().ask(start, stop)
        except CollectError as error:
            token = self.parameters.token.get_secret_value()
            raise Misconfigured("the token {token} is wrong", token=token) from error


class Waiting(Good):
    """Waits for what never comes."""

    async def survey(self):
        while True:
            await self.ask(0, 0)


ITEMS = [{"id": f"i{number}", "name": f"item {number}"} for number in range(7)]


def contract(broken):
    class Contract(CollectorContract):
        collector = broken
        parameters = {"token": TOKEN}
        wrong = {"token": "another-word"}
        expected = {"cases": [item["id"] for item in ITEMS]}

        def source(self):
            return served(shop(ITEMS))

        def empty(self):
            return served(shop([]))

    return Contract()


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_collector_keeps_it(check):
    getattr(contract(Good), check)()


BREAKS = {
    Lax: "its_parameters_refuse",
    Open: "its_secrets_are_kept",
    Silent: "says_in_a_line",
    Skipping: "exactly_once",
    Repeating: "exactly_once",
    Unbounded: "exactly_once",
    Circling: "cursors_are_json",
    Remembering: "goes_on_at_any_cursor",
    Tupled: "cursors_are_json",
    Dated: "two_readings",
    Unsteady: "exactly_once",
    Eager: "empty_source",
    Blind: "plans_for_each",
    Inventive: "malformed_items",
    Exiting: "wrong_type",
    Nameless: "wrong_type",
    Trusting: "another_program",
    Drifting: "fetched_twice",
    Hanging: "malformed_items",
    Swallowing: "worth_another_try",
    Hopeful: "refuses_the_credentials",
    Telling: "refuses_the_credentials",
    Waiting: "survey_names",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_what_breaks_it_is_noticed(broken, monkeypatch):
    monkeypatch.setattr(collector_contract, "SECONDS", 0.5 if broken in (Hanging, Waiting) else 5.0)
    (check,) = (name for name in CHECKS if BREAKS[broken] in name)
    with pytest.raises((AssertionError, TimeoutError)):
        getattr(contract(broken), check)()


def test_every_check_is_seen_to_fail():
    assert not [name for name in CHECKS if not any(part in name for part in BREAKS.values())]
