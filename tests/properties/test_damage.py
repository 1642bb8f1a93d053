"""Whatever is broken: an item costs itself and not its neighbours, and a file is understood or refused."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.stores import Storage
from collectors.errors import Misconfigured
from collectors.loading import Loader
from collectors.models import Batch
from collectors.reading import sift
from collectors.sources import testrail
from deployments.definitions import resolve

CASES = [
    {
        "id": number, "title": f"case {number}", "section_id": 1, "updated_on": 1_700_000_000 + number, "refs": "R-1",
        "is_deleted": 0, "priority_id": 2, "labels": [{"id": 1, "title": "smoke"}], "custom_preconds": "logged in",
        "custom_steps_separated": [{"content": "open", "expected": "opened"}], "custom_extra": {"a": [1, 2]},
    }
    for number in range(1, 5)
]  # fmt: skip
SECTIONS = [
    {"id": number, "name": f"section {number}", "parent_id": None, "suite_id": 1, "description": "x"}
    for number in range(1, 5)
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """The paths of all values below `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


@st.composite
def damaged(draw, items):
    """The items, some of them damaged; and the positions of those that are whole."""
    items, whole = copy.deepcopy(items), set(range(len(items)))
    for position in draw(st.sets(st.integers(0, len(items) - 1), max_size=3)):
        whole.discard(position)
        if draw(st.integers(0, 4)) == 0:
            items[position] = draw(JSON)
            continue
        for _ in range(draw(st.integers(1, 3))):
            *path, last = draw(st.sampled_from(list(places(items[position])) or [("x",)]))
            place = items[position]
            for key in path:
                place = place[key]
            if draw(st.booleans()):
                place[last] = draw(JSON)
            else:
                del place[last]
                if not items[position]:
                    break
    return items, whole


@pytest.mark.parametrize(("stage", "kind", "items"), [("cases", "case", CASES), ("directories", "directory", SECTIONS)])
def test_every_item_is_stored_or_refused(storage: Storage, names: Iterator[str], stage, kind, items):
    collector = testrail.TestRail(None, None, 250)
    loader = Loader(storage.rows, storage.documents, storage.cache)

    @settings(max_examples=80)
    @given(damaged(items))
    def holds(damage):
        page, whole = damage
        name = next(names)
        records, refused = sift(collector, stage, page)
        assert len(records) + len(refused) == len(page)
        assert all(each.reason and each.message and isinstance(each.payload, bytes) for each in refused)
        assert not whole & {each.position for each in refused}
        intact = [collector.map(stage, items[position]) for position in sorted(whole)]
        assert [record for record in records if record in intact] == intact
        loader.apply(Batch("default", name, "r", "s01", "0.0", 1, tuple(records)))
        assert storage.rows.count("default", name)[kind] == len({each.id for each in records if not each.deleted})

    holds()


FILE = b"""name: cases
collector: testrail
source:
  base_url: http://tests.example
  project_id: 1
  username: reader
  api_key: "hunter2"
strategy: {concurrency: 2, retry: {attempts: 3}}
"""
ODD = (
    "*a, &a ,[,{,],},: ,\n,\t,- ,---\n,"
    "!!binary ,!!set ,<<: ,',0x,.nan,2024-01-01,no,\ufeff,\0,? ,|\n,%YAML 9.9\n,name: b\n"
)
PIECES = st.binary(max_size=4) | st.sampled_from([each.encode() for each in ODD.split(",")])


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(FILE)), st.integers(0, 3) | st.integers(0, len(FILE)), PIECES), max_size=4)
)
def test_a_damaged_file_is_a_definition_or_refused(storage: Storage, tmp_path_factory, damages):
    content = FILE
    for start, length, piece in damages:
        content = content[:start] + piece + content[start + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    Path(path).write_bytes(content)
    try:
        definition = resolve(str(path), (), storage.registry).definition
        assert definition.model_dump_json()
    except Misconfigured as error:
        assert str(path) in error.what
        assert "hunter2" not in str(error)


@settings(max_examples=100)
@given(
    key=st.sampled_from(["name", "source", "source.username", "source.suite_id", "strategy.retry", "x", "a.b", ""])
    | st.text(max_size=5),
    value=st.text(max_size=8) | st.sampled_from(["[", "{a: {b: c}}", "*a", ".nan", "2024-01-01", "2024-99-99", "0o9"]),
)
def test_any_setting_is_a_definition_or_refused(storage: Storage, tmp_path_factory, key, value):
    path = tmp_path_factory.getbasetemp() / "whole.yaml"
    Path(path).write_bytes(FILE)
    try:
        assert resolve(str(path), (f"{key}={value}",), storage.registry).definition.model_dump_json()
    except Misconfigured as error:
        assert error.what
