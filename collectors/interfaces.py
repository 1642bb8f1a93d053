"""The seams: what a collector must offer, and what reading and loading need of the stores.

Store methods are synchronous: every driver the platform uses is, and the core calls them in threads.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from collectors.known_pages import KnownPage
from collectors.models import Batch, Document, Hit, Json, Page, Quarantined, Record, Stage
from collectors.paths import Move
from collectors.states import Desired, ShardState

if TYPE_CHECKING:
    from collectors.outbound import Http
    from collectors.selecting import Selection

AN_HOUR = 3600.0
Load = Callable[[Sequence[str]], Mapping[str, bytes]]  # the values of those keys that have one


class Collector(Protocol):
    """The plug-in that knows one kind of source. It keeps no state between calls but its HTTP session."""

    Parameters: ClassVar[type[BaseModel]]

    def __init__(self, parameters: Any, http: "Http", page_size: int) -> None: ...

    @staticmethod
    def connection(parameters: Any) -> dict[str, Any]:
        """What the HTTP client needs beside base_url: `auth` (user, password), `headers`, other `secrets` to hide."""

    async def survey(self) -> Sequence[Stage]:
        """Ask the source how much there is. Stages are read in this order, each finished before the next."""

    async def fetch(self, stage: str, span: dict[str, Any], cursor: Json) -> Page:
        """The page of `span` at `cursor` (None: its first page). One request, or few; no retries of its own."""

    def map(self, stage: str, item: Any) -> Record:
        """One raw item as a record. Raises Rejected, or whatever a malformed item makes it raise.

        A Flawed item (exact_json) is refused before; one within an item of the collector's own making is its to refuse.
        """


@runtime_checkable
class ById(Protocol):
    """What a collector may offer beside: given records, wherever they stand in the source."""

    async def fetch_ids(self, stage: str, ids: Sequence[str]) -> Page:
        """Those of `ids` that the source still has, as items for `map`; others may be among them."""


@runtime_checkable
class Selective(Protocol):
    """What a collector may offer beside: to ask its source for a part of what there is."""

    async def select(self, wanted: "Selection") -> Sequence[Stage]:
        """As `survey`, for what is `wanted` alone, as far as the source can be asked for it: more does no harm."""

    def changed_at(self, record: Record) -> float | None:
        """When the source says it changed the record last; seconds since 1970. None: it does not say."""


@runtime_checkable
class Pinning(Protocol):
    """What a collector may offer beside, when its windows of offsets move while they are read."""

    async def pin(self, stage: str, spans: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """The same spans, each with what fixes its ends."""


@runtime_checkable
class Confirming(Protocol):
    """What a collector may offer beside: to ask whether single records are still there."""

    async def exist(self, kind: str, ids: Sequence[str]) -> Mapping[str, bool]:
        """True: still there; False: gone for certain. Those are left out of which the source does not tell."""


@runtime_checkable
class Counting(Protocol):
    """What a collector may offer beside: how many cases its source says lie in a directory."""

    async def counts(self) -> Mapping[str, int]:
        """By the directory's id; those of which the source tells nothing are left out."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands: what is desired, how many records it has refused, how many batches are not loaded yet, how
    many records are planned, and how many shards are being read that come before the one that asks."""

    desired: Desired
    quarantined: int
    open_batches: int
    planned: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class RunClaim:
    """The right to lead a run: plan it, start its shards, close it."""

    run_id: str
    owner: str
    fence: int
    superseded: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one shard until the lease ends; every write carries its fence."""

    run_id: str
    shard_id: str
    owner: str
    fence: int
    stage: str
    span: dict[str, Any]
    cursor: Json
    page: int
    failures: int = 0  # tries of the shard that failed before
    round: int = 0  # how often the run was asked to read something anew that it had read


class Progress(Protocol):
    """Where shards stand. A write with an outdated fence changes nothing and raises Fenced."""

    def observe(self) -> int:
        """The next observation number: larger than any before, taken before a request is sent."""

    def checkpoint(
        self,
        claim: Claim,
        page: int,
        cursor: Json,
        batches: Sequence[Batch],
        refused: Sequence[Quarantined],
        read: int,
        whole: bool = True,
        known: KnownPage | None = None,
    ) -> Standing:
        """Make a page's progress durable in one transaction: cursor, ledger and quarantine. `whole`: see Page.

        `known`: what is remembered of the page.
        """

    def repeat(self, claim: Claim, batch: Batch, page: int, known: KnownPage) -> Standing | None:
        """Checkpoint a page that says what it said before, as seen again by `batch`, which holds no records.

        In one transaction: rows count as seen, their versions rise, the ledger has the batch as done. None, and nothing
        is changed, when the rows are not as known.
        """

    def renew(self, claim: Claim) -> Desired:
        """Prolong the lease; answers what is desired of the shard now."""

    def standing(self, claim: Claim) -> Standing:
        """What the last checkpoint answered, as it is now."""

    def release(self, claim: Claim, state: ShardState, error: str | None = None) -> None:
        """End the lease and leave the shard in `state`."""


class Rows(Protocol):
    """Rows and ledger, kept in one database so that one transaction holds both."""

    def apply(self, batch: Batch, refused: Sequence[Quarantined] = ()) -> list[Document]:
        """Guarded upserts, counts, the ledger's stage and the quarantine of `refused`, in one transaction.

        Answers the documents that have to be written now, also when an earlier try stopped half-way.
        Raises Rejected when the database refuses the data; nothing is changed then.
        """

    def try_out(self, batch: Batch) -> None:
        """Raises what `apply` would raise, and changes nothing."""

    def withdraw(self, batch: Batch, refused: Sequence[Quarantined]) -> None:
        """Set aside records whose documents were refused after `apply`: a row that was new goes, a changed one is
        marked so that whatever comes next counts as a change."""

    def finish(self, batch: Batch) -> None:
        """The ledger's last stage: the batch is in every store."""


class Documents(Protocol):
    """The full detail of records. The newest version wins; an older write changes nothing."""

    def write(self, documents: Sequence[Document]) -> None:
        """Raises Rejected when one of them cannot be stored; others of them may be stored then."""

    def read(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, Document]: ...

    def repath(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        """Set the derived path of those that are not newer than the move."""

    def discard(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> None:
        """Take documents away, whatever their versions. What is gone from its source is written as deleted instead."""

    def search(
        self,
        tenant: str,
        query: str,
        collection: str | None = None,
        kind: str | None = None,
        under: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """Live records with every word of `query` in name or texts; those with all of them in the name come first.

        `under` is the path of a directory: it and what is below it. Raises Misconfigured when nothing can be searched.
        """

    def marks(
        self, tenant: str, collection: str, kind: str, after: str, last: str | None
    ) -> dict[str, tuple[str, bool]]:
        """The (content hash, whether it is gone) of every document with `after` < id <= `last` (None: no end)."""

    def make_searchable(self) -> int:
        """Enter some of what waits for it into the index for search; answers how many documents. None waits unfound."""

    def reindex(self) -> None:
        """Make the search index anew from what is stored."""


class Cache(Protocol):
    """Copies of what reading commands ask for most. Losing all of it costs time only."""

    def read(self, keys: Sequence[str], load: Load, lasting: float = AN_HOUR) -> Mapping[str, bytes]:
        """The values of `keys`, of those that have one; `load` is asked for what is not cached, and its answer kept.

        It is kept for `lasting` seconds at most; that there is no value is not kept. What `drop` named while `load` was
        under way is answered, but not kept. Of several readers that miss a key at one time one loads it. A cache that
        does not answer is passed by.
        """

    def peek(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """What is cached of `keys`; nothing is loaded. Raises Unreachable or Misconfigured."""

    def drop(self, tenant: str, keys: Iterable[str]) -> None:
        """Forget `keys`, and every search of the tenant; without any key nothing.

        Raises Unreachable or Misconfigured: what is stale must not stay.
        """

    def generation(self, tenant: str) -> str:
        """A word that changes with every `drop` of the tenant: part of the key of whatever depends on many records."""


class Queue(Protocol):
    """Carries batches from reading to loading."""

    async def publish(self, batch: Batch) -> None:
        """Returns when the batch is safe: confirmed by a broker, or already applied. Raises Unreachable."""

    async def waiting(self) -> int:
        """How many batches are published and not taken, delayed ones included. Raises Unreachable."""

    async def close(self) -> None: ...


class Delivery(Protocol):
    """A batch that was taken from the queue and comes again to somebody until it is acknowledged."""

    batch: Batch
    attempt: int  # how often it was delayed before

    async def done(self) -> None:
        """Acknowledge: it is in every store."""

    async def later(self, reason: str) -> None:
        """Have it delivered again after a pause that grows with each attempt; after the last one it is set apart."""


class Deliveries(Protocol):
    """The far end of the queue."""

    def taken(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Batches as they come, until the context is left; those neither done nor delayed then come again.

        Entering it raises Unreachable or Misconfigured; the batches end with Unreachable when the queue is lost, and so
        does what is said to one of them. Only one caller may wait for the next batch at a time.
        """
