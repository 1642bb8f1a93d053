"""`try`: one page of a source, and what would become of it."""

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number

from collectors.errors import Misconfigured
from collectors.interfaces import Collector
from collectors.language import spoken
from collectors.models import Collection, Json, Page, Quarantined, Record, ShardPlan
from collectors.outbound import Http
from collectors.planning import plan
from collectors.reading import sift
from collectors.validating import nearest
from deployments.asking import source_of
from deployments.cli.asking import command
from deployments.cli.choosing import MOST
from deployments.cli.output import FIELD, coloured, print_json, say, shortened, show_field, show_warnings, visible
from deployments.definitions import looked_up


@dataclass(frozen=True, slots=True)
class Tried:
    """One page of a stage, as it would be read. `shard` is None when the stage is empty."""

    stage: str
    shard: ShardPlan | None
    page: Page
    records: list[Record]
    refused: list[Quarantined]
    limits: dict[str, str]
    seconds: float

    @property
    def mapped(self) -> list[tuple[Any, Record]]:
        """Each item that became a record, with it."""
        positions = {each.position for each in self.refused}
        good = [item for position, item in enumerate(self.page.items) if position not in positions]
        return list(zip(good, self.records, strict=True))


def try_(
    collection: str,
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    stage: str | None = None,
    cursor: str | None = None,
    items: Annotated[int, Parameter(validator=Number(gte=0, lte=MOST), show_default=True)] = 3,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Fetch one page of each stage and show how it would be mapped; nothing is stored.

    Examples
        $ collect try demo
        $ collect try tests.yaml --stage cases --items 10
        $ collect try demo --stage cases --cursor 500 --json

    Parameters
    ----------
    collection
        path of a collection file, or a name from collect list
    set_
        override a key of the definition, such as strategy.page_size=10
    stage
        only this stage
    cursor
        where the page begins, as an earlier page said; needs --stage
    items
        show the mapping of this many items of each page
    tenant
        whose collection, when it is called by its name
    json
        print an array of the pages
    """
    if cursor is not None and stage is None:
        raise Misconfigured("--cursor needs --stage", "Say which stage it belongs to.", code="COL-0242")
    definition = looked_up(collection, set_, tenant)
    show_warnings()
    tried = asyncio.run(_tried(definition, stage, cursor))
    if json:
        print_json([_as_json(each, items) for each in tried])
    else:
        for each in tried:
            _print(each, items)
        following = command("plan", collection, set_, definition, tenant)
        say("nothing was stored; see how it would be cut: {command}", command=following)
    return 3 if any(each.refused for each in tried) else 0


async def _tried(definition: Collection, stage: str | None, cursor: str | None) -> list[Tried]:
    async with source_of(definition) as (collector, http):
        stages = await collector.survey()
        names = [each.name for each in stages]
        if stage is not None and stage not in names:
            raise Misconfigured(
                "collector {collector} has no stage {stage}",
                "{nearest}Its stages: {names}",
                code="COL-0243",
                collector=definition.collector,
                stage=stage,
                nearest=nearest(stage, names),
                names=", ".join(names),
            )
        shards = {shard.stage: shard for shard in reversed(plan(stages, definition.strategy))}
        wanted = names if stage is None else [stage]
        return [await _one(collector, http, name, shards.get(name), _read(cursor)) for name in wanted]


def _read(cursor: str | None) -> Json:
    """A cursor is JSON; one that is not is taken as a text."""
    try:
        return None if cursor is None else orjson.loads(cursor)
    except orjson.JSONDecodeError:
        return cursor


async def _one(collector: Collector, http: Http, stage: str, shard: ShardPlan | None, cursor: Json) -> Tried:
    if shard is None:
        return Tried(stage, None, Page([], None), [], [], http.limits, 0.0)
    began = time.perf_counter()
    page = await _fetched(collector, shard, cursor)
    seconds = time.perf_counter() - began
    return Tried(stage, shard, page, *sift(collector, stage, page.items), http.limits, seconds)


async def _fetched(collector: Collector, shard: ShardPlan, cursor: Json) -> Page:
    try:
        return await collector.fetch(shard.stage, shard.span, cursor)
    except (TypeError, ValueError, LookupError) as error:
        if cursor is None:
            raise
        raise Misconfigured(
            "the collector cannot read the cursor {cursor} ({why})",
            "Take one that collect try showed, or leave it out.",
            code="COL-0244",
            cursor=cursor,
            why=repr(error),
        ) from error


def _print(tried: Tried, items: int) -> None:
    count, took = len(tried.page.items), f"{tried.seconds * 1000:,.0f} ms"
    label = tried.shard.label if tried.shard else tried.stage
    head = spoken("{label}: {count} items in {took}", label=label, count=f"{count:,}", took=took)
    print(coloured(visible(head), "1"))
    for raw, record in tried.mapped[:items]:
        show_field("raw", _fitting(_text(raw)))
        show_field("record", _fitting(_text(record.model_dump())))
    for refused in tried.refused[:items]:
        show_field("refused", f"{refused.reason}: {refused.message}")
        show_field("raw", _fitting(refused.payload.decode(errors="replace")))
    counts = {"mapped": len(tried.records), "refused": len(tried.refused)}
    show_field("mapped", spoken("{mapped:,}, {refused:,} refused", **counts))
    show_field("cursor", spoken("none: the shard ends here") if tried.page.cursor is None else _text(tried.page.cursor))
    for name, value in tried.limits.items():
        show_field("limit", f"{name}: {value}")


def _fitting(text: str) -> str:
    """Cut to the terminal's line; whole in a pipe."""
    return shortened(text, shutil.get_terminal_size().columns - FIELD) if sys.stdout.isatty() else text


def _text(value: Any) -> str:
    return orjson.dumps(value, default=repr).decode()


def _as_json(tried: Tried, items: int) -> dict[str, Any]:
    return {
        "stage": tried.stage,
        "range": tried.shard and tried.shard.label,
        "items": len(tried.page.items),
        "mapped": [{"raw": raw, "record": record.model_dump()} for raw, record in tried.mapped[:items]],
        "refused": [
            {
                "position": each.position,
                "id": each.record_id,
                "reason": each.reason,
                "message": each.message,
                "raw": each.payload.decode(errors="replace"),
            }
            for each in tried.refused
        ],
        "cursor": tried.page.cursor,
        "limits": tried.limits,
        "seconds": round(tried.seconds, 3),
    }
