"""The values that travel between the rooms: definitions, plans, pages, records, batches, reports. All are frozen."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from collectors.errors import Rejected
from collectors.scheduling import Schedule, Schedules, Triggers

Kind = Literal["directory", "case"]
Mode = Literal["full", "incremental", "range"]
IMPORT = "import"  # stands for a collector where what is sent to the service is collected: there is no source to ask
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST_NAME = 100  # characters of a collection's
LARGEST_BATCH = 10_000
LARGEST_RECORD = 15 * 2**20  # bytes; what MongoDB keeps in one document, less what goes with it
DEEPEST_RECORD = 150  # levels; likewise
Json = dict[str, Any] | list[Any] | str | int | float | bool | None


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- what a user writes ------------------------------------------------------------------------------------


class Retry(Model):
    """How often one request is tried, and how long the pauses grow (seconds, doubled each time, with jitter)."""

    attempts: int = Field(6, ge=1, le=100, description="tries of one request, the first included")
    initial: float = Field(0.5, gt=0, le=60, description="pause before the second try, in seconds")
    maximum: float = Field(30.0, gt=0, le=600, description="longest pause between two tries, in seconds")


class ShardRetry(Model):
    """How often a shard that failed is tried within its run, and for how long it waits before (seconds)."""

    attempts: int = Field(1, ge=1, le=100, description="tries of one shard, the first included")
    backoff: Literal["fixed", "exponential"] = Field("exponential", description="how the pauses grow")
    initial: float = Field(5.0, gt=0, le=3600, description="pause before the second try, in seconds, with jitter")
    maximum: float = Field(300.0, gt=0, le=3600, description="longest pause between two tries, in seconds")

    def pause(self, failures: int, chance: float) -> float:
        """Seconds before the next try after so many failures: `chance` in 0..1 takes up to half of them away."""
        doubled = 2 ** min(failures - 1, 32) if self.backoff == "exponential" else 1
        return min(self.initial * doubled, self.maximum) * (1 - chance / 2)


def a_share(value: str) -> str:
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?%", value) or float(value.removesuffix("%")) > 100:
        raise ValueError("is no share")
    return value


def an_allowance(value: Any, checked: ValidatorFunctionWrapHandler) -> int | str:
    """One thing is said of what is wrong, whichever of both was meant."""
    try:
        return checked(value)
    except ValidationError:
        raise ValueError("has to be a number of records, or a share of them such as 5%") from None


def as_it_is_called(value: Any) -> Any:
    """Definitions that are kept may say it as it was called once."""
    return "fail-fast" if value == "stop" else value


class Strategy(Model):
    """How a run is cut and how gently it treats its source."""

    concurrency: int = Field(4, ge=1, le=64, description="shards read side by side")
    shard_size: int = Field(10_000, ge=1, description="records of one shard")
    page_size: int = Field(250, ge=1, le=LARGEST_BATCH, description="records asked for in one request")
    batch_size: int = Field(1_000, ge=1, le=LARGEST_BATCH, description="most records of one message")
    skip_unchanged: bool = Field(
        True, description="whether full runs pass over pages that say what they said before, whole"
    )
    timeout: float = Field(60.0, ge=1, le=3600, description="seconds for one request with its whole answer")
    retry: Retry = Retry()
    shard_retry: ShardRetry = ShardRetry()
    on_failure: Annotated[Literal["continue", "fail-fast", "threshold"], BeforeValidator(as_it_is_called)] = Field(
        "continue",
        description="a failed shard costs its siblings nothing, or stops them, or does so when what was not read is "
        "more than max_errors",
    )
    max_errors: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[str, AfterValidator(a_share)], WrapValidator(an_allowance)
    ] = Field(
        1_000, description="refused records after which the run is failed: a number, or a share of the plan such as 5%"
    )
    overlap: float = Field(
        300.0, ge=0, le=7 * 86_400, description="seconds an incremental run looks back behind the watermark"
    )
    shrink_guard: float = Field(
        0.3, ge=0, le=1, description="nothing is deleted by a full run that misses more than this share of the records"
    )


class Retention(Model):
    """How much of what was is kept."""

    history_days: float = Field(
        365, ge=0, le=36_500, description="days for which a version is kept that was replaced; 0 keeps none"
    )
    snapshots: int = Field(
        30, ge=0, le=10_000, description="trees that are kept, one of each completed run; 0 keeps none"
    )


def errors_within(allowed: int | str, planned: int) -> int:
    """How many errors are allowed where so many records are planned."""
    return allowed if isinstance(allowed, int) else int(planned * float(allowed.removesuffix("%")) / 100)


def one_word(value: str) -> str:
    if not re.fullmatch(r"[^\s/\\:]+", value) or not value.isprintable() or "\ufffd" in value:
        raise ValueError("has to be one word, without blanks, slashes or colons, of characters that can be seen")
    return value


Word = Annotated[str, AfterValidator(one_word)]


class Scope(Model):
    """What a range run collects: cases for which all of it holds. Directories are read as always: cases hang there."""

    under: str | None = Field(None, min_length=1, max_length=1000, description="path of a directory: what is below it")
    ids: str | None = Field(
        None,
        pattern=r"^([0-9]{1,18}|[0-9]{1,18}\.\.[0-9]{0,18}|\.\.[0-9]{1,18})$",
        description="numbers: 100..200, 100.., ..200",
    )
    since: AwareDatetime | None = Field(None, description="changed at or after this time; with its zone")
    until: AwareDatetime | None = Field(None, description="changed at or before this time; with its zone")

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        first, last = self.bounds
        if first is not None and last is not None and first > last:
            raise ValueError(f"ids: {first}..{last} is an empty range; the smaller number comes first")
        if self.since and self.until and self.since > self.until:
            raise ValueError("since comes after until; the earlier time comes first")
        return self

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The first and the last number of `ids`, both included; None where there is no end."""
        first, dots, last = (self.ids or "..").partition("..")
        return int(first) if first else None, int(last if dots else first) if last or not dots else None


EVERYTHING = Scope()


class Collection(Model):
    """A registered definition: what to collect, from where, how often, how gently."""

    name: Word = Field(max_length=LONGEST_NAME)
    collector: str = Field(min_length=1)
    source: dict[str, Any] = Field(description="the collector's own parameters")
    mode: Mode = Field("full", description="what to read: all, what changed since the watermark, or the scope alone")
    scope: Scope = Field(EVERYTHING, description="what a range run collects")
    strategy: Strategy = Strategy()
    retention: Retention = Retention()
    placement: Literal["inline", "pool", "auto"] = Field(
        "inline", description="where shards are read: in the process of their run, by workers of a pool, or as it pays"
    )
    schedule: Schedules = Field((), description="when runs are due by themselves, once it is registered")
    triggers: Triggers = Field(Triggers(), description="what becomes of a time at which a run is due")
    tenant: Word = Field("default", max_length=64)

    @model_validator(mode="after")
    def _schedules_can_run(self) -> Self:
        for each in self.schedule:
            mode, scope = self.due_by(each)
            if mode == "range" and scope == EVERYTHING:
                raise ValueError(f"schedule {each.slug}: mode range needs a scope, under parameters")
            if mode != "range" and each.parameters.scope is not None:
                raise ValueError(f"schedule {each.slug}: a scope belongs to mode range, not {mode}")
        return self

    def due_by(self, schedule: Schedule) -> tuple[Mode, Scope]:
        """What a run that this schedule begins is about."""
        mode = schedule.mode or self.mode
        given = schedule.parameters.scope
        own = self.scope if mode == "range" else EVERYTHING
        return mode, own if given is None else Scope.model_validate(given)

    @model_validator(mode="after")
    def _scope_belongs_to_range(self) -> Self:
        scoped = self.scope != EVERYTHING
        if scoped and self.mode != "range":
            raise ValueError(f"a scope belongs to mode range, not {self.mode}")
        if self.mode == "range" and not scoped and self.collector != IMPORT:
            raise ValueError("mode range needs a scope: under, ids, since or until")
        return self


# ---- how a run is cut --------------------------------------------------------------------------------------


class Offsets(Model):
    """A stage the source serves as one numbered list; cut into windows of offsets, the last one open."""

    total: int = Field(ge=0)


class Keys(Model):
    """A stage that consists of named parts, each with its number of records; cut into groups of keys."""

    weights: tuple[tuple[int | str, int], ...]


class Stage(Model):
    """A part of a plan that must be finished before the next one starts."""

    name: str
    extent: Offsets | Keys
    within: dict[str, Any] = Field(default_factory=dict, description="what the span of each of its shards says beside")

    @property
    def total(self) -> int:
        return self.extent.total if isinstance(self.extent, Offsets) else sum(n for _, n in self.extent.weights)


class ShardPlan(Model):
    """One shard before it has run: `span` is what its collector will be asked for."""

    shard_id: str
    stage: str
    label: str
    span: dict[str, Any]
    estimate: int


# ---- what is read ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What one request returned: raw items, and where the next page begins (None: the shard ends here)."""

    items: list[Any]
    cursor: Json
    whole: bool = True  # False: the source's list moved meanwhile, so that something of it may have been passed over


def without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


Id = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(without_nul)]


class Record(Model):
    """One thing of the source. `path` and `level` are derived from the parents and are no part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Kind
    id: Id
    parent_id: Id | None = None
    name: str = Field(min_length=1, max_length=16_000)  # in characters; as bytes it fits a TEXT of 64 KiB
    content: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    source_version: int = Field(0, ge=0, lt=2**63)
    deleted: bool = False

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the canonical JSON of what the source says: parent, name, content, metadata.

        Raises Rejected when that is more than every store can keep.
        """
        fields = [self.parent_id, self.name, self.content, self.metadata]
        written = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        if len(written) > LARGEST_RECORD:
            raise Rejected("too-large", "is too large to be kept: {size:,} bytes", code="COL-0513", size=len(written))
        if written.count(b"[") + written.count(b"{") > DEEPEST_RECORD and _levels(fields) > DEEPEST_RECORD:
            what = "is nested deeper than {levels} levels"
            raise Rejected("too-deep", what, self.id, code="COL-0509", levels=DEEPEST_RECORD)
        return hashlib.sha256(written).hexdigest()


def _levels(value: Any) -> int:
    """How many lists and objects lie within each other, at most."""
    levels, within = 0, [value]
    while within:
        levels += 1
        values = (each.values() if isinstance(each, dict) else each for each in within)
        within = [inner for each in values for inner in each if isinstance(inner, dict | list)]
    return levels


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A refused record: where it stood, why, and what the source sent."""

    position: int
    reason: str
    message: str
    record_id: str | None
    payload: bytes


@dataclass(frozen=True)
class Batch:
    """The records of one message: published, applied and acknowledged together."""

    tenant: str
    collection: str
    run_id: str
    shard_id: str
    page: str
    observation: int
    records: tuple[Record, ...]
    arrived_at: int = 0  # when its page was there, by the reader's clock; microseconds since 1970
    epoch: int = 0  # of the collection, when its run began

    @cached_property
    def origin(self) -> str:
        """Run, shard and page: the same when the page is read again after a crash."""
        return f"{self.run_id}/{self.shard_id}/{self.page}"

    @cached_property
    def batch_id(self) -> str:
        return f"{self.origin}/{self.observation}"

    def repeats(self, batch_id: str) -> bool:
        """Whether that batch has the same origin."""
        return batch_id.rpartition("/")[0] == self.origin


EPOCH_PART = 4  # characters of a version that are its epoch
SOURCE_PART = 20  # those before its observation


def version(source_version: int, observation: int, epoch: int = 0) -> str:
    """Fixed width, so that comparing text compares (epoch, source version, observation)."""
    return f"{epoch:04x}{source_version:016x}{observation:016x}"


def parts_of(version: str) -> tuple[int, int, int]:
    """(epoch, source version, observation) of a version."""
    return int(version[:EPOCH_PART], 16), int(version[EPOCH_PART:SOURCE_PART], 16), int(version[SOURCE_PART:], 16)


PAGES_OF_A_ROUND = 10**9


def page_label(round: int, page: int, part: int) -> str:
    """How a batch names its page: read anew, it is another one, and counts for itself."""
    return f"{round * PAGES_OF_A_ROUND + page}.{part}"


def page_of(label: str) -> tuple[int, int]:
    """(page, part of it) of a label, whatever its round; both are counted from 0."""
    number, _, part = label.partition(".")
    return int(number) % PAGES_OF_A_ROUND, int(part)


def origin_of(batch_id: str) -> tuple[str, str, int, int, int]:
    """(run id, shard id, page, part of it, observation) of a batch; pages and parts are counted from 0."""
    run_id, shard_id, label, observation = batch_id.split("/")
    return run_id, shard_id, *page_of(label), int(observation)


# ---- what is stored ----------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What a record meant to the row it met."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    SUPERSEDED = "superseded"
    REGRESSED = "regressed"  # superseded, although it was seen later: the source's own version ran backwards


@dataclass(frozen=True, slots=True)
class Document:
    """The full detail of one record, as the document store keeps it."""

    tenant: str
    collection: str
    kind: str
    id: str
    version: str
    deleted: bool
    content_hash: str
    name: str
    path: str | None
    content: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    parent_id: str | None = None
    batch_id: str = ""  # where it came from; empty where that is not known
    created_at: int = field(default=0, compare=False)  # microseconds since 1970, as its row has them
    updated_at: int = field(default=0, compare=False)
    new: bool = field(default=False, compare=False)  # no row was known before, so that nothing can stand in the way


@dataclass(frozen=True, slots=True)
class Hit:
    """A record a search has found, and where in it: a field, and a part of that with the hits in 【】."""

    collection: str
    kind: str
    id: str
    path: str | None
    name: str
    field: str
    snippet: str
