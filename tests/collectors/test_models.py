"""The values that travel: versions that compare as text, hashes that depend on content only, strict records."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.models import Batch, Collection, Record, ShardRetry, Strategy, errors_within, version

PART = st.integers(0, 2**63 - 1)
VERSIONS = st.tuples(st.integers(0, 2**16 - 1), PART, PART)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


def case(**fields) -> Record:
    return Record(**{"kind": "case", "id": "1", "name": "n"} | fields)


def backwards(value):
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(each) for each in value] if isinstance(value, list) else value


@given(VERSIONS, VERSIONS)
def test_versions_compare_as_text_like_their_parts_as_numbers(one, other):
    texts = [version(source, seen, epoch) for epoch, source, seen in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)
    assert (texts[0] == texts[1]) == (one == other)
    assert [len(text) for text in texts] == [36, 36]


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_the_hash_does_not_depend_on_the_order_of_keys(content):
    one, other = case(content=content, metadata=content), case(content=backwards(content), metadata=backwards(content))
    assert one.content_hash == other.content_hash


@pytest.mark.parametrize(
    "change",
    [{"parent_id": "7"}, {"name": "m"}, {"content": {"a": 1}}, {"metadata": {"a": 1}}],
    ids=lambda change: next(iter(change)),
)
def test_the_hash_changes_with_what_the_source_says(change):
    assert case(**change).content_hash != case().content_hash


def test_content_and_metadata_are_not_confused_in_the_hash():
    assert case(content={"a": 1}).content_hash != case(metadata={"a": 1}).content_hash


@pytest.mark.parametrize("change", [{"source_version": 9}, {"deleted": True}], ids=lambda change: next(iter(change)))
def test_the_hash_does_not_change_with_when_it_was_said(change):
    assert case(**change).content_hash == case().content_hash


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 7},
        {"id": "x" * 256},
        {"id": "\ud800"},
        {"id": "a\0"},
        {"parent_id": "\0"},
        {"name": "x" * 16_001},
        {"parent_id": ""},
        {"parent_id": 7},
        {"name": ""},
        {"name": None},
        {"kind": "step"},
        {"source_version": -1},
        {"source_version": 2**63},
        {"source_version": "5"},
        {"deleted": 1},
        {"content": None},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_a_record_that_cannot_be_stored_as_it_is_does_not_exist(wrong):
    with pytest.raises(ValidationError):
        case(**wrong)


def test_a_batch_read_again_has_the_same_origin_but_another_id():
    first, again = (Batch("t", "c", "r1", "s01", "3.0", seen, ()) for seen in (5, 9))
    assert first.origin == again.origin == "r1/s01/3.0"
    assert (first.batch_id, again.batch_id) == ("r1/s01/3.0/5", "r1/s01/3.0/9")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\\b", "a:b", "a\n", "x" * 101])
def test_collections_and_tenants_have_names_that_fit_addresses_and_files(name):
    with pytest.raises(ValidationError):
        Collection(name=name, collector="testrail", source={})
    with pytest.raises(ValidationError):
        Collection(name="fine", collector="testrail", source={}, tenant=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"shard_size": 0},
        {"page_size": 0},
        {"timeout": 0.9},
        {"timeout": 3601},
        {"on_failure": "explode"},
        {"max_errors": "some"},
        {"max_errors": "101%"},
        {"max_errors": "-1%"},
        {"max_errors": -1},
        {"shard_retry": {"attempts": 0}},
    ],
)
def test_a_strategy_that_could_never_work_is_refused(wrong):
    with pytest.raises(ValidationError):
        Strategy(**wrong)


@pytest.mark.parametrize(
    ("backoff", "expected"), [("fixed", [5.0, 5.0, 5.0, 5.0]), ("exponential", [5.0, 10.0, 15.0, 15.0])]
)
def test_the_pauses_between_the_tries_of_a_shard(backoff, expected):
    retry = ShardRetry(backoff=backoff, initial=5, maximum=15)
    assert [retry.pause(failures, 0.0) for failures in (1, 2, 3, 1_000)] == expected
    assert [retry.pause(failures, 1.0) for failures in (1, 2, 3, 1_000)] == [each / 2 for each in expected]


def test_how_many_errors_are_allowed():
    assert errors_within(7, 1_000) == 7
    assert errors_within("2.5%", 1_000) == 25
    assert errors_within("5%", 0) == 0
