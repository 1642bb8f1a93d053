"""The seams: what a collector must offer, and what reading and loading need of the stores.

Store methods are synchronous: every driver the platform uses is, and the core calls them in threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel

from collectors.models import Batch, Document, Hit, Json, Page, Quarantined, Record, Stage
from collectors.paths import Move
from collectors.states import Desired, ShardState

if TYPE_CHECKING:
    from collectors.outbound import Http


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


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand after a checkpoint: what is desired now, and how many records the run has refused so far."""

    desired: Desired
    quarantined: int


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


class Progress(Protocol):
    """Where shards stand. A write with an outdated fence changes nothing and raises Fenced."""

    def observe(self) -> int:
        """The next observation number: larger than any before, taken before a request is sent."""

    def checkpoint(
        self, claim: Claim, page: int, cursor: Json, batches: Sequence[Batch], refused: Sequence[Quarantined], read: int
    ) -> Standing:
        """Make a page's progress durable in one transaction: cursor, ledger and quarantine."""

    def renew(self, claim: Claim) -> Desired:
        """Prolong the lease; answers what is desired of the shard now."""

    def release(self, claim: Claim, state: ShardState, error: str | None = None) -> None:
        """End the lease and leave the shard in `state`."""


class Rows(Protocol):
    """Rows and ledger, kept in one database so that one transaction holds both."""

    def apply(self, batch: Batch) -> list[Document]:
        """Guarded upserts, counts and the ledger's stage, in one transaction.

        Answers the documents that have to be written now, also when an earlier try stopped half-way.
        """

    def finish(self, batch: Batch) -> None:
        """The ledger's last stage: the batch is in every store."""


class Documents(Protocol):
    """The full detail of records. The newest version wins; an older write changes nothing."""

    def write(self, documents: Sequence[Document]) -> None: ...

    def read(self, tenant: str, collection: str, kind: str, ids: Sequence[str]) -> dict[str, Document]: ...

    def repath(self, tenant: str, collection: str, kind: str, moves: Sequence[Move]) -> None:
        """Set the derived path where it is the one that was found, whatever the version."""

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

    def reindex(self) -> None:
        """Make the search index anew from what is stored."""


class Queue(Protocol):
    """Carries batches from reading to loading."""

    async def publish(self, batch: Batch) -> None:
        """Returns when the batch is safe: confirmed by a broker, or already applied."""
