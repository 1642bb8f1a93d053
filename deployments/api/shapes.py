"""What is sent and answered, as OpenAPI tells it: shapes with examples. Nothing is checked by them."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from collectors.models import Kind
from collectors.quality import Finding
from collectors.states import RunState
from deployments.api.problems import MEDIA_TYPE

Item = TypeVar("Item")
NODE = {
    "kind": "case",
    "id": "17",
    "parent_id": "3",
    "name": "退款原路退回",
    "content": {"description": "", "steps": ["申请退款"], "expectedResults": ["原路退回"]},
    "metadata": {"tags": ["支付"], "priority": 2},
}
TREE = [
    {
        "kind": "directory",
        "id": "3",
        "name": "支付",
        "children": [{"kind": "case", "id": "17", "name": "退款原路退回", "content": {}, "metadata": {}}],
    }
]


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class ImportedNode(BaseModel):
    """A directory or a case; nested ones need no parent_id."""

    model_config = ConfigDict(json_schema_extra={"examples": [NODE]})

    kind: Kind | None = Field(None, description="may be left out where there are children")
    id: str = Field(min_length=1, max_length=255)
    parent_id: str | None = None
    name: str = Field(min_length=1, max_length=16_000)
    content: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    source_version: int = Field(0, ge=0, description="the newest of a record wins")
    deleted: bool = Field(False, description="it is gone")
    children: list["ImportedNode"] = []


class Accepted(BaseModel):
    model_config = _example(
        run_id="7f3a90c1", collection="imports", status="/api/task/7f3a90c1/status", received=2, repeated=False,
        waiting_for=None,
    )  # fmt: skip

    run_id: str
    collection: str
    status: str = Field(description="where to look how far it is")
    received: int | None = Field(None, description="nodes of an import")
    repeated: bool = Field(description="whether the run was asked for before, with the same Idempotency-Key")
    waiting_for: str | None = Field(None, description="what it waits for, as far as that is known already")


class Node(BaseModel):
    model_config = _example(
        kind="case", id="17", parent_id="3", name="退款原路退回", path="/支付/退款原路退回", collection="imports",
        depth=2, lost=False,
    )  # fmt: skip

    kind: Kind
    id: str
    parent_id: str | None = None
    name: str
    path: str | None = Field(None, description="null while it is not known")
    collection: str
    depth: int | None = Field(None, description="levels below the top, or below the root that was asked for")
    lost: bool = Field(description="its directory is not there")


class Version(BaseModel):
    epoch: int
    source: int
    observation: int
    text: str


class Origin(BaseModel):
    run_id: str
    shard_id: str
    page: int
    part: int
    observation: int
    at: str


class Detail(BaseModel):
    model_config = _example(
        **NODE, tenant="default", collection="imports", path="/支付/退款原路退回", deleted=False,
        version={"epoch": 0, "source": 0, "observation": 5, "text": "0000" + "0" * 31 + "5"}, content_hash="9f…",
        first=None, last=None,
    )  # fmt: skip

    kind: Kind
    tenant: str
    collection: str
    id: str
    parent_id: str | None = None
    path: str | None = None
    name: str
    deleted: bool
    content: dict[str, Any] | None = Field(None, description="null while it is not stored yet")
    metadata: dict[str, Any] | None = None
    version: Version
    content_hash: str
    first: Origin | None = None
    last: Origin | None = None


class Hit(BaseModel):
    model_config = _example(
        collection="imports", kind="case", id="17", path="/支付/退款原路退回", name="退款原路退回", field="name",
        snippet="【退款】原路退回",
    )  # fmt: skip

    collection: str
    kind: Kind
    id: str
    path: str | None = None
    name: str
    field: str
    snippet: str = Field(description="a part of the field, with the words in 【】")


class CollectionShape(BaseModel):
    model_config = _example(name="demo", collector="testrail", mode="full", source="http://127.0.0.1:8765")

    name: str
    collector: str
    mode: str
    source: str | None = None


class Mark(BaseModel):
    model_config = _example(
        collection="demo", watermark="2026-01-01T00:00:00+00:00", epoch=0, moved_by="7f3a90c1",
        moved_at="2026-01-01T00:00:09+00:00",
    )  # fmt: skip

    collection: str
    watermark: str | None
    epoch: int
    moved_by: str | None
    moved_at: str | None


class SettingVersion(BaseModel):
    model_config = _example(
        version=2, value=2, set_by="user:ops", set_at="2026-01-01T00:00:00+00:00", reason="the source is slow",
    )  # fmt: skip

    version: int
    value: bool | int | float | None = Field(description="null where it was taken away")
    set_by: str
    set_at: str
    reason: str | None


class Setting(BaseModel):
    model_config = _example(
        name="concurrency", description="shards of a run that are read side by side", unit="", value=2, version=2,
        scopes=["global", "tenant", "collection"], origin="collection", set_by="user:ops", reason="the source is slow",
        set_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip

    name: str
    description: str
    value: bool | int | float | None = Field(description="null where there is no limit")
    unit: str
    origin: Literal["default", "definition", "environment", "global", "tenant", "collection"]
    scopes: list[Literal["global", "tenant", "collection"]] = Field(description="where it may be set")
    version: int | None = Field(description="null where it is not set")
    set_by: str | None
    set_at: str | None
    reason: str | None


class Controlled(BaseModel):
    model_config = _example(
        run_id="7f3a90c1", shard_id="s03", state="PAUSING", reason="the source is slow",
        status="/api/task/7f3a90c1/status", waiting_for=None,
    )  # fmt: skip

    run_id: str
    shard_id: str | None = None
    state: str = Field(description="PAUSING, RESUMING or CANCELLING until whoever works on it has followed")
    reason: str | None = None
    status: str = Field(description="where to look how far it is")
    waiting_for: str | None = Field(None, description="what it waits for, as far as that is known already")


class Retried(BaseModel):
    model_config = _example(run_id="7f3a90c1", state="RESUMING", shards=["s03"], status="/api/task/7f3a90c1/status")

    run_id: str
    state: str = Field(description="RESUMING until the service goes on with it")
    shards: list[str] = Field(description="those that are done over")
    status: str = Field(description="where to look how far it is")


class Entry(BaseModel):
    model_config = _example(
        number=7, at="2026-01-01T00:00:00+00:00", actor="key:5c1d02aa91fe", action="pause", subject="7f3a90c1/s03",
        details={"reason": "the source is slow"}, seal="9f…",
    )  # fmt: skip

    number: int = Field(description="of all tenants' entries")
    at: str
    actor: str = Field(description="key:ID of a key, user:NAME of the machine, prefect for its buttons, or service")
    action: str
    subject: str = Field(description="a run, a shard of it, a key, or a collection")
    details: dict[str, Any]
    seal: str


class Was(BaseModel):
    """A version of a record."""

    kind: Kind
    id: str
    parent_id: str | None
    name: str
    path: str | None
    deleted: bool
    content: dict[str, Any]
    metadata: dict[str, Any]
    version: str
    at: str = Field(description="when it was stored")
    run_id: str | None = Field(description="the run that brought it")
    change: Literal["added", "restored", "changed", "moved", "deleted", "unchanged"] = Field(
        description="what it was beside the one before; the first is `added` unless earlier ones are kept no more"
    )
    fields: list[str] = Field(description="what differs from the one before, where both were there")


class History(BaseModel):
    collection: str
    versions: list[Was] = Field(description="oldest first, the present one last")


class Place(BaseModel):
    parent_id: str | None
    name: str
    path: str | None


class Difference(BaseModel):
    model_config = _example(
        kind="case", id="17", change="moved", fields=["parent_id"],
        before={"parent_id": "3", "name": "退款", "path": "/支付/退款"},
        after={"parent_id": "4", "name": "退款", "path": "/售后/退款"},
    )  # fmt: skip

    kind: Kind
    id: str
    change: Literal["added", "restored", "changed", "moved", "deleted"]
    fields: list[str] = Field(description="what differs, where it was there before and is after")
    before: Place | None
    after: Place | None


class Run(BaseModel):
    model_config = _example(
        run_id="7f3a90c1", collection="imports", state="COMPLETED", mode="full", created_at="2026-01-01T00:00:00+00:00",
        ended_at="2026-01-01T00:00:09+00:00", error=None,
    )  # fmt: skip

    run_id: str
    collection: str
    state: RunState
    mode: str
    created_at: str
    ended_at: str | None = None
    error: str | None = None


class Progress(BaseModel):
    total: int | None = Field(
        description="records, as far as they are known; null while a range is read whose cases nobody has counted"
    )
    current: int = Field(description="read")
    success: int = Field(description="in the stores")
    failure: int = Field(description="quarantined")
    phase: str = Field(description="planning, the stage that is read, loading, closing, ended")


class Status(BaseModel):
    model_config = _example(
        run_id="7f3a90c1", collection="imports", state="RUNNING", mode="full", reason=None, waiting_for=None,
        progress={"total": 20800, "current": 5000, "success": 4000, "failure": 0, "phase": "cases"},
        records={"fetched": 5000, "new": 4000, "changed": 0, "unchanged": 0, "regressed": 0, "quarantined": 0,
                 "deleted": 0},
        shards={"COMPLETED": 1, "RUNNING": 2}, notices=[], quality=[], errors=[], seconds=1.5,
        created_at="2026-01-01T00:00:00+00:00", ended_at=None, flow_run_id=None,
        placement="inline", placement_reason="the collection says inline",
    )  # fmt: skip

    run_id: str
    collection: str
    state: str = Field(description="a state, or PAUSING, RESUMING, CANCELLING while it does not follow a wish yet")
    mode: str
    reason: str | None = Field(None, description="what was said when it was paused, cancelled or retried")
    waiting_for: str | None = Field(None, description="what it waits for when nobody works on it")
    progress: Progress
    records: dict[str, int] = Field(
        description="what became of them; regressed: they came with an older version than is known, which stays"
    )
    shards: dict[str, int] = Field(description="how many are in each state")
    notices: list[str] = Field(description="what is to be known of how it ended, and is no failure")
    quality: list[Finding] = Field(description="what is wrong with the tree, as its source has it")
    errors: list[str]
    seconds: float
    created_at: str
    ended_at: str | None = None
    flow_run_id: str | None = None
    placement: str | None = Field(None, description="inline or pool; null until it is planned")
    placement_reason: str | None = None


class ShardProgress(BaseModel):
    current: int
    total: int


class Shard(BaseModel):
    model_config = _example(
        shard_id="s01", state="RUNNING", stage="cases", range="cases 0..9", progress={"current": 500, "total": 10000},
        quarantined=0, attempts=1, seconds=0.7, rate=714.3, error=None, errors=[], retry_count=0, reason=None,
        waiting_for=None,
    )  # fmt: skip

    shard_id: str
    state: str = Field(description="a state, or PAUSING, RESUMING, CANCELLING while it does not follow a wish yet")
    stage: str
    range: str
    progress: ShardProgress
    quarantined: int
    attempts: int = Field(description="tries; to go on after a pause is none")
    seconds: float
    rate: float = Field(description="records a second while it was read")
    error: str | None = None
    errors: list[str]
    retry_count: int
    reason: str | None = None
    waiting_for: str | None = None


class Shards(BaseModel):
    run_id: str
    shards: list[Shard]


class Refusal(BaseModel):
    model_config = _example(
        run_id="7f3a90c1", shard_id="s02", page=0, position=3, reason="missing-name", message="COL-0502: has no title",
        record_id="17", payload='{"id":17}', created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip

    run_id: str
    shard_id: str
    page: int
    position: int
    reason: str
    message: str
    record_id: str | None = None
    payload: str = Field(description="what was sent")
    created_at: str


class Part(BaseModel):
    state: Literal["ok", "failed"]
    code: str | None = Field(None, description="of docs/errors.md")


class Health(BaseModel):
    model_config = _example(status="ok", parts={"metadata": {"state": "ok", "code": None}})

    status: Literal["ok", "degraded", "down"]
    parts: dict[str, Part]


class Due(BaseModel):
    model_config = _example(
        collection="tests", slug="nightly", active=True, next="2026-11-28T02:00:00+08:00",
        last="2026-11-27T02:00:00+08:00 run", run_id="7f3a90c1", rule="0 2 * * *", timezone="Asia/Shanghai",
        words="At 02:00", reason="",
    )  # fmt: skip

    collection: str
    slug: str
    active: bool
    next: str | None = Field(description="when it is due next; null while it is switched off")
    last: str | None = Field(description="the last time it was due, and what became of that: run, skipped or missed")
    run_id: str | None = Field(description="the run of that time")
    rule: str
    timezone: str
    words: str = Field(description="what the rule says")
    reason: str | None = Field(description="why it is switched off, or why the last time is no run")


class Schedules(BaseModel):
    name: str
    schedules: list[Due]


class Registered(BaseModel):
    name: str
    version: int
    definition: dict[str, Any]
    waits: str | None = Field(description="why Prefect does not show it, where it is to")
    schedules: list[Due]


class Version(BaseModel):
    version: int
    created_at: str
    created_by: str | None
    definition: dict[str, Any]


class KeyChange(BaseModel):
    key: str
    before: Any
    after: Any


class Registration(BaseModel):
    model_config = _example(
        name="tests", version=2, differences=[{"key": "strategy.concurrency", "before": 4, "after": 2}]
    )

    name: str
    version: int
    differences: list[KeyChange]


class Mistake(BaseModel):
    at: str = Field(description="where it stands")
    what: str
    code: str | None = None


class Problem(BaseModel):
    """RFC 9457, with a code of docs/errors.md and what to do."""

    model_config = _example(
        type="urn:platform-collect:col-0205", title="Not Found", status=404, detail="there is no run 7f3a90c1",
        code="COL-0205", remedy="List them with: collect status",
    )  # fmt: skip

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    errors: list[Mistake] = []


class Listed(BaseModel, Generic[Item]):
    items: list[Item]
    next: str | None = Field(None, description="the cursor of the next page; null at the end")


# ---- answers, by their status ------------------------------------------------------------------------------


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """With the shapes that no route is told of by itself."""
    _, shapes = models_json_schema(
        [(Problem, "validation"), (ImportedNode, "validation")], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"] |= shapes["$defs"]
    return document


WORDS = {
    304: "you have it already",
    400: "the body cannot be read",
    401: "no valid key",
    403: "the key's role is not enough",
    404: "not there, or another tenant's",
    408: "not sent in time",
    409: "the present state forbids it",
    412: "changed by somebody else meanwhile",
    413: "too large",
    415: "of another kind",
    422: "something in it is wrong",
    429: "too often",
    503: "a server does not answer; the problem says which",
}


def one(model: Any, *others: int) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model}, 304: {"description": WORDS[304]}} | _problems(401, 403, 404, 422, 429, 503, *others)


def listing(model: Any, *others: int) -> dict[int | str, dict[str, Any]]:
    return one(Listed[model], *others)


def accepting(*others: int) -> dict[int | str, dict[str, Any]]:
    return {202: {"model": Accepted}} | _problems(401, 403, 404, 409, 422, 429, 503, *others)


def open_to_all(model: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model}, 304: {"description": WORDS[304]}, 503: {"model": model}} | _problems(429)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": WORDS[status], "content": content} for status in statuses}


IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"$ref": "#/components/schemas/ImportedNode"},
                                     {"type": "array", "items": {"$ref": "#/components/schemas/ImportedNode"}}]},
                "examples": {"tree": {"value": TREE}, "list": {"value": [NODE]}},
            },
            "application/x-ndjson": {"schema": {"type": "string"}, "examples": {"lines": {"value": "…"}}},
        },
    }
}  # fmt: skip
