"""Nodes as they are sent: one by one, in a list, or as a tree."""

import pytest

from collectors import nodes
from collectors.errors import Rejected

CASE = {"kind": "case", "id": "c", "parent_id": "d", "name": "退款", "content": {"steps": ["a"]}, "metadata": {"p": 1}}


def refused(value, match):
    with pytest.raises(Rejected, match=match):
        nodes.record(value)


def test_a_line_of_an_export_is_a_node():
    exported = CASE | {"path": "/x/退款", "version": "0" * 36, "content_hash": "9f", "deleted": False}
    assert nodes.record(exported) == nodes.record(CASE)
    assert nodes.record(CASE).content == {"steps": ["a"]}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (["x"], "COL-0514"),
        (None, "COL-0514"),
        (CASE | {"nmae": "x"}, "nmae"),
        (CASE | {"id": 7}, "invalid|id"),
        (CASE | {"id": ""}, "id"),
        (CASE | {"id": "x" * 256}, "id"),
        (CASE | {"kind": "suite"}, "kind"),
        (CASE | {"name": "a\0b"} | {"id": "a\0b"}, "NUL"),
        (CASE | {"content": []}, "content"),
        ({"kind": "case", "id": "1"}, "name"),
        (CASE | {"children": []}, "children"),
    ],
)
def test_what_is_wrong_with_a_node_is_named(value, match):
    refused(value, match)


def flat(top):
    return [(each.pointer, each.value.get("id"), each.value.get("parent_id")) for each in nodes.flattened(top)]


def test_a_tree_is_flattened_parents_first_and_children_know_their_parent():
    leaf = {"kind": "case", "id": "c", "name": "c"}
    tree = [{"id": "a", "name": "a", "children": [{"id": "b", "name": "b", "children": [leaf]}, leaf | {"id": "e"}]}]
    found = [("/0", "a", None), ("/0/children/0", "b", "a"), ("/0/children/0/children/0", "c", "b")]
    assert flat(tree) == [*found, ("/0/children/1", "e", "a")]
    assert [nodes.record(each.value).kind for each in nodes.flattened(tree)] == [
        "directory",
        "directory",
        "case",
        "case",
    ]
    assert flat(tree[0])[0] == ("", "a", None)


def test_a_flat_list_keeps_its_parents():
    assert flat([CASE, CASE | {"id": "e", "parent_id": None}]) == [("/0", "c", "d"), ("/1", "e", None)]


@pytest.mark.parametrize(
    ("top", "match"),
    [
        ({"id": "a", "name": "a", "children": [CASE | {"parent_id": "other"}]}, "COL-0516"),
        (CASE | {"children": [CASE]}, "COL-0517"),
        ({"id": "a", "name": "a", "children": "none"}, "COL-0517"),
        ([["nested"]], "COL-0514"),
    ],
)
def test_a_tree_that_is_none_is_refused_at_its_node(top, match):
    with pytest.raises(Rejected, match=match):
        for each in nodes.flattened(top):
            nodes.record(each.value)


def test_a_tree_of_ten_thousand_levels_is_read():
    top = {"kind": "case", "id": "c", "name": "c"}
    for number in range(10_000):
        top = {"id": str(number), "name": "d", "children": [top]}
    assert sum(1 for _ in nodes.flattened(top)) == 10_001


def test_a_flaw_costs_the_node_that_holds_it_and_not_those_above_or_below():
    text = (
        b'{"id":"a","name":"a","children":[{"kind":"case","id":"c","name":"c","content":{"n":99999999999999999999}}]}'
    )
    above, below = nodes.flattened(nodes.decoded_one(text))
    assert nodes.record(above.value).id == "a"
    refused(below.value, "COL-0507")


def test_a_byte_order_mark_says_nothing():
    assert nodes.decoded_one(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize("text", [b"", b"1,2", b"{", b"\xff", b'{"a":1}{"b":2}', b"[1]]["])
def test_what_is_not_one_value_is_no_json(text):
    with pytest.raises(ValueError):
        nodes.decoded_one(text)
