"""JSON that is read exactly: equal to what was written, or laid to the record that cannot be kept."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exact_json import DEEPEST, Flawed, decoded

TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ['":', ':"', '\\":', ',":x', '"a" : ', "/\u2028"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
WRITERS = {
    "compact": lambda value: orjson.dumps(value),
    "with blanks": lambda value: json.dumps(value, ensure_ascii=False).encode(),
    "indented": lambda value: json.dumps(value, indent=1, separators=(" , ", "\t: ")).encode(),
    "escaped": lambda value: json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode(),
}
BEFORE, AFTER = b'{"id":1,"name":"before"}', b'{"id":9,"name":"after"}'
NESTED = DEEPEST + 100


def page(*records: bytes) -> bytes:
    return b'{"offset":0,"cases":[' + b",".join([BEFORE, *records, AFTER]) + b"]}"


def flawed(record: bytes):
    before, found, after = decoded(page(record))["cases"]
    assert [type(each) for each in (before, after)] == [dict, dict]
    assert (before, after) == (orjson.loads(BEFORE), orjson.loads(AFTER))
    return found


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(value=VALUES)
def test_what_can_be_kept_is_read_as_it_was_written(write, value):
    found = decoded(write(value))
    assert found == value
    assert repr(found) == repr(value)


@given(
    pairs=st.lists(st.tuples(TEXT, VALUES), max_size=6), blank=st.sampled_from(["", " ", "\n\t"]), ascii=st.booleans()
)
def test_no_key_is_ever_dropped_unnoticed(pairs, blank, ascii):
    written = (f"{json.dumps(key, ensure_ascii=ascii)}{blank}:{json.dumps(value)}" for key, value in pairs)
    (found,) = decoded(f"[{{{','.join(written)}}}]".encode())
    assert isinstance(found, Flawed) == (len(dict(pairs)) < len(pairs))


FLAWS = {
    "NaN": (b'{"x":NaN}', "not-a-number", "NaN"),
    "infinity": (b'{"x":-Infinity}', "not-a-number", "-Infinity"),
    "too large a number": (b'{"x":1e999}', "not-a-number", "1e999"),
    "a large integer": (b'{"x":9223372036854775808}', "huge-number", "9223372036854775808"),
    "a small integer": (b'{"x":-9223372036854775809}', "huge-number", "-9223372036854775809"),
    "a very large integer": (b'{"x":' + b"7" * 10_000 + b"}", "huge-number", "7777"),
    "half a pair": (b'{"x":"a\\ud83d b"}', "broken-text", "ud83d"),
    "half a pair in a key": (b'{"\\ude00":1}', "broken-text", "ude00"),
    "half a pair in a list of lists": (b'{"x":[1,["\\ud800"]]}', "broken-text", "ud800"),
    "bytes that are no UTF-8": (b'{"x":"caf\xe9"}', "broken-text", "caf"),
    "a key twice": (b'{"x":1,"y":2,"x":3}', "repeated-key", "'x'"),
    "a key twice, the same": (b'{"x":1,"x":1}', "repeated-key", "'x'"),
    "a key twice, spelled otherwise": (b'{"x":1,"\\u0078":"\\u003ay"}', "repeated-key", "'x'"),
    "a key twice behind a colon": (b'{"x":1,"x":"\\u003ax"}', "repeated-key", "'x'"),
    "a flaw below": (b'{"x":[{"y":{"z":[NaN]}}]}', "not-a-number", "NaN"),
    "lists nested too deep": (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too-deep", "[[["),
    "objects nested too deep": (b'{"x":' + b'{"a":' * 10_000 + b'"]"' + b"}" * 10_000 + b"}", "too-deep", '{"a":{"a":'),
    "nested deeper than can be written": (
        b'{"x":' + b"[" * NESTED + b'"\\"["' + b"]" * NESTED + b"}",
        "too-deep",
        "[[[",
    ),
}


@pytest.mark.parametrize(("record", "reason", "shown"), FLAWS.values(), ids=FLAWS)
def test_a_flaw_is_laid_to_its_record(record, reason, shown):
    found = flawed(record)
    assert isinstance(found, Flawed)
    assert found.why.reason == reason
    assert shown in found.why.what
    assert found.why.code.startswith("COL-05")


def test_a_key_that_looks_like_our_mark_costs_nothing():
    assert flawed(b'{"id":7,"\\u0000too deep":5,"x":NaN}').why.reason == "not-a-number"


def test_how_deep_a_record_may_be_does_not_depend_on_its_neighbours():
    deep = b'{"x":' + b"[" * 245 + b"]" * 245 + b"}"
    assert type(decoded(page(deep))["cases"][1]) is dict
    assert type(decoded(page(deep, b'{"x":NaN}'))["cases"][1]) is dict


def test_control_characters_that_are_not_escaped_are_kept():
    assert flawed(b'{"id":7,"x":"a\tb\x01c"}') == {"id": 7, "x": "a\tb\x01c"}


def test_a_mark_of_the_byte_order_is_no_part_of_the_text():
    assert decoded(b'\xef\xbb\xbf{"x":1}') == {"x": 1}


def test_a_flawed_record_still_shows_what_came():
    assert flawed(b'{"id":7,"x":1e999,"y":[NaN],"z":"\\ud800"}') == {"id": 7, "x": "1e999", "y": ["NaN"], "z": "\ud800"}
    assert flawed(b'{"id":7,"x":1,"y":2,"x":3}') == {"id": 7, "x": [1, 3], "y": 2}


@pytest.mark.parametrize(
    "kept",
    [
        b'{"x":9223372036854775807}',
        b'{"x":-9223372036854775808}',
        b'{"x":"12345678901234567890"}',
        b'{"x":"\\ud83d\\ude00"}',
    ],
)
def test_what_only_looks_like_a_flaw_is_kept(kept):
    found = flawed(kept)
    assert type(found) is dict
    assert found == json.loads(kept)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b'{"cases":[{"id":1},{"id"',
        b'{"cases":[],"offset":NaN}',
        b'{"cases":[],"cases":[]}',
        b'{"cases":[],"_links":{"next":"\\ud800"}}',
        b'{"cases":[NaN]}',
        b"[1, NaN]",
        b"99999999999999999999",
        b"\xff",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'[{"id":1}]]',
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_what_is_no_json_or_flawed_outside_its_records_is_refused(broken):
    with pytest.raises(ValueError):
        decoded(broken)


@pytest.mark.parametrize(
    "body", [b'"' + b'\\"' * 1_000_000, b'"' * 1_000_001, b'{"a":1' + b" " * 1_000_000, b"[[],{}," * 50_000]
)
def test_no_text_takes_long_to_be_refused(body):
    """In time that grows with its length: an hour otherwise."""
    with pytest.raises(ValueError):
        decoded(body)
