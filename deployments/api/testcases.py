"""Test cases: imported, and read as a tree, one by one, or by their words."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from blocks import views
from blocks.imported import Parts
from blocks.past_tree import PastBranches
from blocks.sql.registry import mixed
from blocks.sql.run_rows import new_run_id
from blocks.stores import Storage
from blocks.walking import Position, Tree, position
from collectors.errors import Misconfigured, Refused
from collectors.models import IMPORT, KINDS, LONGEST_NAME, Collection, Kind, Strategy, Word
from deployments.api import shapes
from deployments.api.answers import Cursor, Limit, answer, listed, position_of
from deployments.api.guard import Guarded
from deployments.api.importing import Validate, nothing_left, spooled
from deployments.api.runs import Key, accepted, once_of, storage_of
from deployments.definitions import looked_for
from deployments.moments import moment_of, past_of

IMPORTS = "imports"
IN_ORDER = Strategy(concurrency=1, shard_size=50_000)  # of what comes twice the later one wins
FARTHEST = 1_000  # hits that are paged through
Named = Query(max_length=LONGEST_NAME, description="name of a collection; all of them when left out")


class Anything(Convertor[str]):
    """An id may hold slashes and line ends."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", Anything())
router = APIRouter(prefix="/api/testcase", tags=["test cases"], route_class=Guarded)


@router.post(
    "/import", status_code=202, openapi_extra=shapes.IMPORT_BODY, responses=shapes.accepting(400, 408, 413, 415)
)
async def import_(
    request: Request,
    collection: Annotated[Word, Query(max_length=LONGEST_NAME)] = IMPORTS,
    validate: Annotated[Validate | None, Query(description="refuse all for one mistake, or only what is wrong")] = None,
    idempotency_key: Key = None,
) -> Response:
    """Import directories and cases: a tree or a list as JSON (64 MB at most), or any number of them as JSON lines.

    They are in the stores when the run has ended. JSON is refused as a whole when a node is wrong; of JSON lines, those
    that are wrong are quarantined and the others imported; `validate` says it otherwise. Nothing is deleted by it.
    """
    storage: Storage = storage_of(request)
    tenant = request.state.caller.tenant
    definition = await to_thread.run_sync(_importing, storage, tenant, collection)
    run_id = new_run_id()
    async with nothing_left(storage.spool, run_id):
        count, fingerprint = await spooled(request, Parts(storage.spool, run_id), validate)
        asked = (collection, validate, request.headers["content-type"], fingerprint)
        once = once_of(idempotency_key, "import", *asked)
        accept = partial(storage.requests.accept, definition, run_id, definition, once, sent=True)
        done = await to_thread.run_sync(accept)
    return accepted(request, done, collection, received=count)


def _importing(storage: Storage, tenant: str, name: str) -> Collection:
    """Raises Refused when the collection is collected from a source, before anything is read of what is sent."""
    known = looked_for(name, storage.registry, tenant)
    if known and known.collector != IMPORT:
        raise mixed(known, IMPORT)
    ours = Collection(name=name, collector=IMPORT, source={}, mode="range", tenant=tenant, strategy=IN_ORDER)
    return known.model_copy(update={"mode": ours.mode}) if known else ours


@router.get("/tree", responses=shapes.listing(shapes.Node, 409))
def tree(
    request: Request,
    collection: Annotated[Word | None, Named] = None,
    root: Annotated[str | None, Query(max_length=255, description="id of a directory: it, and what is below")] = None,
    depth: Annotated[int | None, Query(ge=1, le=1_000, description="levels; all when left out")] = None,
    at: Annotated[
        str | None, Query(max_length=60, description="a time with its zone, or a run: as it was then")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The tree by pages: each directory before what is in it, the directories in it first; siblings by their ids.

    Records whose directory is not there come last, as `lost`. `at` needs the name of one collection.
    """
    found = position_of(cursor, (str, str, str, bool), lambda position: position[1] in KINDS)
    storage, tenant = storage_of(request), request.state.caller.tenant
    names = meant(storage, tenant, collection)
    opened = _as_it_was(request, names, at) if at else partial(storage.rows.branches, tenant)
    walk = Tree(opened, names, root, depth)
    nodes = walk.page(Position(*found) if found else None, limit + 1)
    if root is not None and not found and not nodes:
        raise no_record(root)
    return listed(request, nodes[:limit], position(nodes[limit - 1]) if len(nodes) > limit else None)


def _as_it_was(
    request: Request, names: Sequence[str], at: str
) -> Callable[[str], AbstractContextManager[PastBranches]]:
    if len(names) != 1:
        raise Misconfigured("say which collection", "Name it: ?collection=NAME", code="COL-0226")
    past = past_of(storage_of(request), request.state.caller.tenant, names[0])
    return lambda _: nullcontext(request.app.state.past_trees(past, moment_of(past, at)))


@router.get("/search", responses=shapes.listing(shapes.Hit))
def search(
    request: Request,
    q: Annotated[str, Query(min_length=1, max_length=1_000, description="words; each has to occur")],
    collection: Annotated[Word | None, Named] = None,
    under: Annotated[str | None, Query(max_length=1_000, description="path of a directory")] = None,
    kind: Kind | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> Response:
    """Directories and cases by the words in their names and texts: Chinese anywhere, an English word or its beginning.

    Names come first.
    """
    found = position_of(cursor, (int,), lambda position: 0 <= position[0] <= FARTHEST) or [0]
    start = found[0]
    storage, tenant = storage_of(request), request.state.caller.tenant
    if collection:
        meant(storage, tenant, collection)
    where = {"collection": collection, "kind": kind, "under": under}
    hits = views.search(storage, tenant, q, where, start + limit + 1)
    more = len(hits) > start + limit and start + limit <= FARTHEST
    return listed(request, [asdict(hit) for hit in hits[start : start + limit]], (start + limit,) if more else None)


@router.get("/{id:anything}", responses=shapes.one(shapes.Detail, 409))
def detail(
    request: Request,
    id: Annotated[str, Path(min_length=1, max_length=255)],
    collection: Annotated[Word | None, Named] = None,
    kind: Annotated[Kind | None, Query(description="a case, where both have the id and this is left out")] = None,
) -> Response:
    """One record in full, and the run, shard and page it came from."""
    storage, tenant = storage_of(request), request.state.caller.tenant
    names = meant(storage, tenant, collection)
    wanted = [(name, of_kind) for name in names for of_kind in ([kind] if kind else KINDS)]
    found = views.records(storage, tenant, wanted, id)
    cases = [each for each in found if each["kind"] == "case"]
    return answer(request, views.shown(_only(cases or found, id)))


def _only(found: list[dict[str, Any]], id: str) -> dict[str, Any]:
    if not found:
        raise no_record(id)
    if len(found) > 1:
        raise Refused(
            "several collections have a record {id}: {names}",
            "Say which: ?collection=NAME",
            code="COL-0411",
            id=id,
            names=", ".join(each["collection"] for each in found),
        )
    return found[0]


def no_record(id: str) -> Misconfigured:
    return Misconfigured(
        "no record has the id {id}",
        "Find it by its words: GET /api/testcase/search?q=WORDS",
        code="COL-0245",
        id=id,
    )


def meant(storage: Storage, tenant: str, collection: str | None) -> list[str]:
    """The one that is named, or all. Raises Misconfigured."""
    names = storage.catalog.collected(tenant)
    if collection is None:
        return names
    if collection not in names:
        have = "Collected so far: {names}" if names else "Import into it: POST /api/testcase/import?collection=NAME"
        what, facts = "nothing was collected as {name!r}", {"names": ", ".join(names)[:500], "name": collection}
        raise Misconfigured(what, have, code="COL-0228", **facts)
    return [collection]
