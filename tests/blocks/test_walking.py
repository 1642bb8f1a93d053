"""A tree by pages: everything once, parents first, at any page size; and what hangs nowhere, last."""

from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from blocks.settings import Settings
from blocks.sql import branches, constructs
from blocks.sql.tables import RECORDS
from blocks.stores import open_storage
from blocks.walking import Tree, position
from collectors.errors import Refused

COMMON = {
    "tenant": "default", "name": "n", "create_time": 0, "update_time": 0, "version": "0" * 36, "content_hash": "h",
    "seen": 0, "first_batch": "", "last_batch": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    with open_storage(Settings(Path(tmp_path_factory.mktemp("walking")), None)) as opened:
        yield opened


@pytest.fixture
def fill(storage):
    """Replaces all records by those of (kind, id, parent), gone where the id begins with x; a path where one leads."""

    def filled(records, collection="a"):
        directories = {id: parent for kind, id, parent in records if kind == "directory"}

        def leads(parent, seen=()):
            return parent is None or (
                parent in directories and parent not in seen and leads(directories[parent], (*seen, parent))
            )

        with storage.rows._database.write(durable=False) as connection:
            for table in RECORDS.values():
                connection.execute(table.delete().where(table.c.collection == collection))
            for kind, id, parent in dict.fromkeys(records):
                values = COMMON | {"collection": collection, "id": id, "parent_id": parent, "deleted": id[0] == "x"}
                path = f"/{id}" if leads(parent) else None
                connection.execute(insert(RECORDS[kind]).values(**values, path=path))

    return filled


def pages(tree, size):
    found, after = [], None
    while page := tree.page(after, size):
        found += page
        after = position(page[-1])
    return found


def names(nodes):
    return [(each["kind"][0] + each["id"], each["depth"]) for each in nodes]


SMALL = [
    ("directory", "1", None), ("directory", "2", "1"), ("directory", "3", "1"), ("directory", "4", None),
    ("case", "a", "2"), ("case", "b", "1"), ("case", "c", None), ("case", "d", "gone"), ("directory", "5", "6"),
    ("directory", "6", "5"), ("case", "e", "5"), ("directory", "x7", None), ("case", "f", "x7"), ("case", "xg", "1"),
]  # fmt: skip
ALL = [
    ("d1", 1), ("d2", 2), ("ca", 3), ("d3", 2), ("cb", 2), ("d4", 1), ("cf", 2), ("cc", 1),
    ("d5", None), ("d6", None), ("cd", None), ("ce", None),
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_each_comes_once_parents_first_and_the_lost_last(storage, fill, size):
    fill(SMALL)
    assert names(pages(Tree(partial(storage.rows.branches, "default"), ["a"]), size)) == ALL


@pytest.mark.parametrize(
    ("root", "depth", "expected"),
    [
        (None, 1, [("d1", 1), ("d4", 1), ("cc", 1), ("d5", None), ("d6", None), ("cd", None), ("ce", None)]),
        ("1", None, [("d1", 0), ("d2", 1), ("ca", 2), ("d3", 1), ("cb", 1)]),
        ("1", 1, [("d1", 0), ("d2", 1), ("d3", 1), ("cb", 1)]),
        ("4", None, [("d4", 0)]),
        ("5", None, [("d5", 0), ("d6", 1), ("ce", 1)]),
        ("x7", None, [("cf", 1)]),
        ("nothing", None, []),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_part_of_the_tree(storage, fill, root, depth, expected, size):
    fill(SMALL)
    assert names(pages(Tree(partial(storage.rows.branches, "default"), ["a"], root, depth), size)) == expected


def test_collections_come_one_after_another(storage, fill):
    fill([("case", "1", None)], "b")
    fill([("case", "2", None), ("case", "3", None)], "a")
    found = pages(Tree(partial(storage.rows.branches, "default"), ["a", "b"]), 1)
    assert [(each["collection"], each["id"]) for each in found] == [("a", "2"), ("a", "3"), ("b", "1")]
    fill([], "b")


def test_what_lies_elsewhere_now_cannot_be_gone_on_from(storage, fill):
    fill(SMALL)
    tree = Tree(partial(storage.rows.branches, "default"), ["a"], "1")
    after = position(tree.page(None, 3)[-1])
    fill([*(each for each in SMALL if each[1] != "a"), ("case", "a", "4")])
    with pytest.raises(Refused, match="COL-0409"):
        tree.page(after, 3)


def test_another_tenant_has_a_tree_of_its_own(storage, fill):
    fill(SMALL)
    assert pages(Tree(partial(storage.rows.branches, "acme"), ["a"]), 10) == []


@pytest.mark.parametrize("within", [*branches._WITHIN.values(), *branches._AT_THE_TOP.values()])
def test_a_page_costs_what_is_on_it_and_not_what_is_in_the_collection(storage, within):
    values = {"tenant": "default", "collection": "a", "parent": "1", "after": "", "limit": 9}
    with storage.rows._database.read() as connection:
        text, names, literals = constructs._compiled(within, connection.dialect, tuple(values))
        given = tuple((literals | values)[name] for name in names)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given).all()
    assert "_of_parent (tenant=? AND collection=? AND" in plan[0][3]
    assert "parent_id=?" in plan[0][3] or "directory_id=?" in plan[0][3]


IDS = st.sampled_from("1234567x")
TREES = st.lists(st.tuples(st.sampled_from(["directory", "case"]), IDS, st.none() | IDS), max_size=14)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=TREES, size=st.integers(1, 6))
def test_whatever_hangs_below_whatever_each_live_one_comes_once(storage, fill, records, size):
    unique = list({(kind, id): (kind, id, parent) for kind, id, parent in records}.values())
    fill(unique)
    found = pages(Tree(partial(storage.rows.branches, "default"), ["a"]), size)
    live = [(kind, id) for kind, id, _ in unique if id[0] != "x"]
    assert sorted((each["kind"], each["id"]) for each in found) == sorted(live)
    seen = set()
    for each in found:
        if not each["lost"] and each["parent_id"] and each["parent_id"][0] != "x":
            assert each["parent_id"] in seen
        if each["kind"] == "directory":
            seen.add(each["id"])
