"""Whatever is loaded, in whatever order and how often: the stores hold what a simple model says."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.stores import Storage
from collectors.closing import repair_paths
from collectors.loading import Loader
from collectors.models import Batch, Record
from collectors.paths import CUT, LONGEST_PATH, escaped
from collectors.trees import nested, walked

IDS = ["1", "2", "3", "4", "a/b", "..", "é", "e\u0301", "ID", "id", " ", "\x01", "支付"]
NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(["a/b", "..", "\x1b[2J", "\u202e", "\n", "\\/", "x" * 600])
RECORDS = st.builds(
    Record,
    kind=st.sampled_from(["directory", "directory", "case"]),
    id=st.sampled_from(IDS),
    parent_id=st.none() | st.sampled_from([*IDS, "gone"]),
    name=NAMES,
    content=st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.text(max_size=3), max_size=2),
    source_version=st.integers(0, 3),
    deleted=st.booleans(),
)
PAGES = st.lists(st.lists(RECORDS, max_size=8), max_size=5)
Identity = tuple[str, str]


def newest(batches: list[Batch]) -> dict[Identity, Record]:
    """Of every record the one of the highest source version; of several, the one that was seen last."""
    seen = [
        ((record.source_version, batch.observation, place), record)
        for batch in batches
        for place, record in enumerate(batch.records)
    ]
    return {(record.kind, record.id): record for _, record in sorted(seen, key=lambda each: each[0])}


def path(record: Record, all_of_them: dict[Identity, Record]) -> str | None:
    whole, climbed = "", set()
    while True:
        whole = f"/{escaped(record.name)}{whole}"
        if record.parent_id is None:
            return whole if len(whole) <= LONGEST_PATH else CUT + whole[1 - LONGEST_PATH :]
        climbed.add((record.kind, record.id))
        above = "directory", record.parent_id
        if above in climbed or above not in all_of_them:
            return None
        record = all_of_them[above]


def found(storage: Storage, name: str) -> dict[Identity, tuple]:
    """What rows and documents hold of the live ones; they have to agree."""
    held = {}
    for kind in ("directory", "case"):
        rows = [row for chunk in storage.rows.live("default", name, kind) for row in chunk]
        documents = storage.documents.read("default", name, kind, [row["id"] for row in rows])
        for row in rows:
            document = documents[row["id"]]
            assert (document.path, document.content_hash, document.name) == (
                row["path"], row["content_hash"], row["name"],
            )  # fmt: skip
            held[kind, row["id"]] = row["parent_id"], row["name"], row["path"], row["content_hash"]
    return held


@settings(max_examples=40)
@given(pages=PAGES, order=st.randoms(use_true_random=False), twice=st.booleans())
def test_stores_hold_the_newest_of_everything_in_any_order(
    storage: Storage, names: Iterator[str], pages: list[list[Record]], order, twice: bool
):
    name = next(names)
    batches = [
        Batch("default", name, "r", "s01", f"{number}.0", number + 1, tuple(page)) for number, page in enumerate(pages)
    ]
    applied = batches * (2 if twice else 1)
    order.shuffle(applied)
    loader = Loader(storage.rows, storage.documents, storage.cache)
    for batch in applied:
        loader.apply(batch)
    repair_paths(storage.rows, storage.documents, storage.cache, "default", name)
    assert repair_paths(storage.rows, storage.documents, storage.cache, "default", name) == 0

    model = newest(batches)
    live = {key: record for key, record in model.items() if not record.deleted}
    assert found(storage, name) == {
        key: (record.parent_id, record.name, path(record, model), record.content_hash) for key, record in live.items()
    }

    directories = [row for chunk in storage.rows.live("default", name, "directory") for row in chunk]
    shown = [node["id"] for node, _ in walked(nested(directories, {}))]
    assert sorted(shown) == sorted(id for kind, id in live if kind == "directory")
