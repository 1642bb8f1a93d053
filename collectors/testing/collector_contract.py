"""What every collector has to keep, as tests to inherit: see docs/writing-a-collector.md.

Nothing is imported from a test runner. Real requests go to a real server, and every check says what it expects.
"""

import asyncio
import copy
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import product
from typing import Any, ClassVar

import orjson
from pydantic import SecretStr
from starlette.responses import JSONResponse

from collectors.errors import CollectError, Misconfigured, Transient
from collectors.models import Json, Page, Record, Retry, ShardPlan, Stage, Strategy
from collectors.outbound import Http
from collectors.pacing import Pace
from collectors.planning import plan
from collectors.reading import sift
from collectors.registry import lacking
from collectors.testing.serving import served
from collectors.validating import validated

SECONDS = 20.0
QUICK = Retry(attempts=2, initial=0.001, maximum=0.01)
SECRET_NAME = re.compile(r"(^|_)(password|passphrase|secret|token|api_?key)$")
NO_ITEMS: tuple[Any, ...] = (None, True, 7, "text", [], {}, [{}], {"id": None}, {"id": [], "name": {}})
WRONG_VALUES: tuple[Any, ...] = (None, True, -1, 2.5, "", "\ud800", [], {}, [None], {"id": None}, object())

Made = Callable[[int], Any]
Ask = Callable[[Made], Awaitable[Any]]
Position = tuple[ShardPlan, Json, Page]


class CollectorContract:
    """Inherit it in a class called Test..., and say what is collected from where."""

    collector: ClassVar[type[Any]]
    parameters: ClassVar[Mapping[str, Any]]  # of the source, without base_url
    expected: ClassVar[Mapping[str, Sequence[str]]]  # the ids of the records of each stage, in the order of the stages
    wrong: ClassVar[Mapping[str, Any]] = {}  # parameters the source refuses; leave it out if the source lets anybody in
    page_sizes: ClassVar[Sequence[int]] = (1, 2, 3, 1000)
    shard_sizes: ClassVar[Sequence[int]] = (1, 3, 10_000)

    def source(self) -> AbstractContextManager[str]:
        """Serves what is expected, and answers its address: `return served(application)`."""
        raise NotImplementedError("say where the expected records are served")

    def empty(self) -> AbstractContextManager[str]:
        """The same with no records at all."""
        raise NotImplementedError("say where no records are served")

    # ---- what it is ------------------------------------------------------------------------------------

    def test_it_is_a_collector_and_says_in_a_line_what_it_reads(self) -> None:
        assert not lacking(self.collector), f"it has no {', '.join(lacking(self.collector))}"
        assert (self.collector.__doc__ or "").partition("\n")[0].strip(), "collect collectors shows its docstring"

    def test_its_parameters_refuse_what_they_do_not_know(self) -> None:
        _validated(self, "http://127.0.0.1:9")
        for wrong in ({"no_such_key": 1}, {"base_url": "no address"}):
            error = _refusal(lambda wrong=wrong: _validated(self, "http://127.0.0.1:9", **wrong))
            assert isinstance(error, Misconfigured), f"Parameters have to refuse {wrong}"

    def test_its_secrets_are_kept_as_secrets_and_shown_nowhere(self) -> None:
        parameters = _validated(self, "http://127.0.0.1:9")
        for name in type(parameters).model_fields:
            plain = SECRET_NAME.search(name) and isinstance(getattr(parameters, name), str)
            assert not plain, f"the parameter {name} has to be a SecretStr"
        shown = f"{parameters} {parameters!r} {parameters.model_dump()}"
        assert not _told(parameters, shown), "its parameters show a secret"

    # ---- what it reads ---------------------------------------------------------------------------------

    def test_a_survey_names_the_stages_and_plans_for_each_that_holds_something(self) -> None:
        stages, shards = self._asked(self.source(), lambda made: _planned(made(3), 3, 3))
        assert all(isinstance(stage, Stage) for stage in stages), f"survey has to answer Stages, not {stages}"
        assert [stage.name for stage in stages] == list(self.expected)
        unplanned = {name for name, ids in self.expected.items() if ids} - {shard.stage for shard in shards}
        assert not unplanned, f"nothing is planned for {unplanned}"

    def test_every_record_is_read_exactly_once_whatever_the_sizes(self) -> None:
        once = Counter((stage, id) for stage, ids in self.expected.items() for id in ids)
        assert once, "a contract that expects no records shows nothing"

        async def compared(made: Made) -> None:
            for page_size, shard_size in product(self.page_sizes, self.shard_sizes):
                records = await _records(made(page_size), page_size, shard_size)
                found = Counter((stage, record.id) for stage, record in records)
                where = f"with pages of {page_size} and shards of {shard_size}"
                assert not once - found, f"{where} these were lost: {sorted((once - found).elements())}"
                assert not found - once, f"{where} these came unexpected or twice: {sorted((found - once).elements())}"

        self._asked(self.source(), compared)

    def test_two_readings_give_the_same_records(self) -> None:
        async def compared(made: Made) -> None:
            one, other = [
                {(record.kind, record.id): record for _, record in await _records(made(page_size), page_size, 3)}
                for page_size in (1000, 2)
            ]
            assert len(one) == sum(map(len, self.expected.values())), "kind and id have to tell all records apart"
            changed = [key for key, record in one.items() if record.content_hash != other[key].content_hash]
            assert not changed, f"these differ when they are read again, so that each run would write them: {changed}"

        self._asked(self.source(), compared)

    def test_a_page_that_is_fetched_twice_holds_the_same(self) -> None:
        async def compared(made: Made) -> None:
            for shard, cursor, page in await _read(made(2), 2, 3):
                again = await made(2).fetch(shard.stage, shard.span, cursor)
                assert again == page, f"{shard.label} at {cursor} differs when it is fetched again"

        self._asked(self.source(), compared)

    def test_cursors_are_json_and_lead_on(self) -> None:
        async def followed(made: Made) -> None:
            for page_size, shard_size in product(self.page_sizes, self.shard_sizes):
                for _, cursor, _ in await _read(made(page_size), page_size, shard_size):
                    assert _as_kept(cursor) == cursor, f"the cursor {cursor!r} comes back from JSON as something else"

        self._asked(self.source(), followed)

    def test_reading_goes_on_at_any_cursor_in_another_process(self) -> None:
        async def resumed(made: Made) -> list[Position]:
            return [position for shard, cursor, _ in pages for position in await _rest(made(2), shard, cursor)]

        with self.source() as url:
            pages = asyncio.run(self._ask(url, lambda made: _read(made(2), 2, 10_000)))
            gone_on = asyncio.run(self._ask(url, resumed))
        expected = [rest for number in range(len(pages)) for rest in _same_shard(pages[number:])]
        assert gone_on == expected, "what follows a cursor differs when another process goes on there"

    def test_an_empty_source_plans_nothing(self) -> None:
        async def planned(made: Made) -> None:
            for page_size in self.page_sizes:
                _, shards = await _planned(made(page_size), page_size, 3)
                assert not shards, f"planned for no records: {[shard.label for shard in shards]}"

        self._asked(self.empty(), planned)

    # ---- what it refuses -------------------------------------------------------------------------------

    def test_malformed_items_are_refused_and_nothing_else_happens(self) -> None:
        async def sifted(made: Made) -> None:
            for stage, item in product(self.expected, NO_ITEMS):
                records, refused = _sifted(made(1), stage, item)
                assert not records and len(refused) == 1, f"{stage}: {item!r} is no record and has to be refused"

        self._asked(self.source(), sifted)

    def test_a_value_of_the_wrong_type_costs_its_record_at_most(self) -> None:
        async def sifted(made: Made) -> None:
            for shard, _, page in await _read(made(1000), 1000, 10_000):
                for item in _spoilt(page.items[0]) if page.items else ():
                    records, _ = _sifted(made(1000), shard.stage, item)
                    ids = [id for record in records for id in (record.id, record.parent_id)]
                    assert "None" not in ids, f"{shard.stage}: None became an id in {item!r}"

        self._asked(self.source(), sifted)

    def test_a_source_that_fails_is_worth_another_try(self) -> None:
        _, shards = self._asked(self.source(), lambda made: _planned(made(3), 3, 3))
        self._refused(Transient, self._answering(500), lambda made: made(3).survey())
        for shard in (shards[0], shards[-1]):
            self._refused(Transient, self._answering(500), lambda made, s=shard: made(3).fetch(s.stage, s.span, None))

    def test_another_program_at_the_address_is_told_from_the_source(self) -> None:
        self._refused(Misconfigured, self._answering(200), lambda made: made(3).survey())

    def test_a_source_that_refuses_the_credentials_has_to_be_put_right(self) -> None:
        self._refused(Misconfigured, self._answering(401), lambda made: made(3).survey())
        if self.wrong:
            self._refused(Misconfigured, self.source(), lambda made: made(3).survey(), **self.wrong)

    def _answering(self, status: int) -> AbstractContextManager[str]:
        """A server that answers all requests alike, and gives away whom it talks to."""
        known = " ".join(_secrets(_validated(self, "http://127.0.0.1:9")).values())
        return served(JSONResponse({"error": f"as the contract wants it, {known}"}, status))

    # ---- how it is asked -------------------------------------------------------------------------------

    def _asked(self, server: AbstractContextManager[str], ask: Ask, **changes: Any) -> Any:
        with server as url:
            return asyncio.run(self._ask(url, ask, **changes))

    async def _ask(self, url: str, ask: Ask, **changes: Any) -> Any:
        """`ask` is given what makes a collector with pages of a size, connected to the server at `url`."""
        parameters = _validated(self, url, **changes)
        async with (
            asyncio.timeout(SECONDS),
            Http(parameters.base_url, QUICK, Pace(), **self.collector.connection(parameters)) as http,
        ):
            return await ask(lambda page_size: self.collector(parameters, http, page_size))

    def _refused(self, kind: type[CollectError], server: AbstractContextManager[str], ask: Ask, **changes: Any) -> None:
        error = _refusal(lambda: self._asked(server, ask, **changes))
        assert isinstance(error, kind), f"this has to be {kind.__name__}, not {error!r}"
        parameters = _validated(self, "http://127.0.0.1:9", **changes)
        assert not _told(parameters, f"{error} {error!r}"), "the error shows a secret"


def _validated(contract: CollectorContract, url: str, **changes: Any) -> Any:
    return validated(contract.collector.Parameters, {"base_url": url, **contract.parameters, **changes}, "source")


def _secrets(parameters: Any) -> dict[str, str]:
    values = {name: getattr(parameters, name) for name in type(parameters).model_fields}
    return {name: value.get_secret_value() for name, value in values.items() if isinstance(value, SecretStr)}


def _told(parameters: Any, text: str) -> list[str]:
    """The secret parameters whose value stands in the text."""
    return [name for name, value in _secrets(parameters).items() if value in text]


def _refusal(action: Callable[[], Any]) -> CollectError | None:
    try:
        action()
    except CollectError as error:
        return error
    return None


async def _planned(collector: Any, page_size: int, shard_size: int) -> tuple[list[Stage], list[ShardPlan]]:
    stages = list(await collector.survey())
    return stages, plan(stages, Strategy(shard_size=shard_size, page_size=page_size))


async def _read(collector: Any, page_size: int, shard_size: int) -> list[Position]:
    """Every page of the plan, with its shard and the cursor it was fetched at."""
    _, shards = await _planned(collector, page_size, shard_size)
    return [position for shard in shards for position in await _rest(collector, shard, None)]


async def _records(collector: Any, page_size: int, shard_size: int) -> list[tuple[str, Record]]:
    pages = await _read(collector, page_size, shard_size)
    return [(shard.stage, collector.map(shard.stage, item)) for shard, _, page in pages for item in page.items]


async def _rest(collector: Any, shard: ShardPlan, cursor: Json) -> list[Position]:
    """The pages from a cursor on, as it comes back from where runs are kept."""
    pages: list[Position] = []
    while not pages or cursor is not None:
        assert cursor not in [earlier for _, earlier, _ in pages], f"{shard.label} comes to {cursor!r} a second time"
        page = await collector.fetch(shard.stage, shard.span, _as_kept(cursor))
        assert isinstance(page, Page), f"fetch has to answer a Page, not {page!r:.100}"
        pages.append((shard, cursor, page))
        cursor = page.cursor
    return pages


def _as_kept(cursor: Json) -> Json:
    return orjson.loads(orjson.dumps(cursor))


def _same_shard(pages: Sequence[Position]) -> list[Position]:
    return [position for position in pages if position[0] == pages[0][0]]


def _sifted(collector: Any, stage: str, item: Any) -> tuple[list[Record], list[Any]]:
    """What a reader makes of one item. In a thread, because a mapping that hangs cannot be stopped otherwise."""
    found: list[tuple[list[Record], list[Any]]] = []
    thread = threading.Thread(target=lambda: found.append(sift(collector, stage, [item])), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, f"{stage}: map neither answers nor raises an ordinary exception for {item!r:.200}"
    return found[0]


def _spoilt(item: Any) -> Iterator[Any]:
    """The item with each of its values, at any depth, replaced by each of the wrong ones."""
    for path in _paths(item):
        for wrong in WRONG_VALUES:
            spoilt = copy.deepcopy(item)
            place = spoilt
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = wrong
            yield spoilt


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(part))
