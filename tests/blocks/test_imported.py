"""What was sent comes out of the spool as it was sent, line by line, refused or not."""

import re

import pytest

from blocks.imported import BYTES, LINES, Imported, Parts
from blocks.sql.spool import Spool
from collectors.errors import Misconfigured, Rejected
from collectors.reading import sift

DIRECTORY = b'{"kind": "directory", "id": "d", "name": "D"}'
CASE = '{"kind":"case","id":"c","parent_id":"d","name":"退款","content":{"n":1.0,"t":"\\u2028"}}'.encode()


@pytest.fixture
def spool(database):
    return Spool(database)


@pytest.fixture
def sent(spool):
    """Spools texts, refused ones as (text, reason); answers what is read of them, by stage."""

    async def through(*texts):
        parts = Parts(spool, "r")
        for number, text in enumerate(texts, 1):
            parts.add(number, *(text if isinstance(text, tuple) else (text,)))
        parts.end()
        collector, found = Imported(spool, "r"), {}
        for stage in await collector.survey():
            items, cursor = [], None
            while True:
                page = await collector.fetch(stage.name, {"keys": [key for key, _ in stage.extent.weights]}, cursor)
                items, cursor = items + page.items, page.cursor
                if cursor is None:
                    break
            found[stage.name] = sift(collector, stage.name, items)
        return found

    return through


async def test_directories_come_first_and_lines_keep_their_order(sent):
    found = await sent(CASE, DIRECTORY, CASE.replace(b'"c"', b'"e"'))
    assert list(found) == ["directories", "cases"]
    assert [each.id for each in found["directories"][0]] == ["d"]
    records, refused = found["cases"]
    assert ([each.id for each in records], refused) == (["c", "e"], [])
    assert records[0].content == {"n": 1.0, "t": "\u2028"}


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        (b"not json", "no-json", "line 2"),
        (b'{"kind":"case","id":"x","name":"\xff"}', "broken-text", "Unicode"),
        (b'{"kind":"case","id":"x"}', "invalid-name", "name"),
        (b'{"kind":"case","id":"x","id":"y","name":"n"}', "repeated-key", "id"),
        (b'{"kind":"case","id":"x","name":"n","content":{"n":99999999999999999999}}', "huge-number", "64"),
        (b"[1,2]", "no-object", "object"),
        (b"{" * 300, "no-json", "line 2"),
    ],
)
async def test_a_line_that_is_wrong_is_refused_alone_with_its_number(sent, text, reason, says):
    records, (refused,) = (await sent(CASE, text, CASE.replace(b'"c"', b'"e"')))["cases"]
    assert [each.id for each in records] == ["c", "e"]
    assert refused.reason == reason
    assert says in refused.message
    assert re.search(rb"line\W+2\b", refused.payload)
    assert refused.record_id == (None if reason in ("no-json", "no-object", "repeated-key") else "x")


async def test_a_line_that_was_refused_before_stays_refused_for_its_reason(sent):
    why = Rejected("too-large", "is longer than {most:,} bytes", "17", code="COL-0520", most=7)
    _, (refused,) = (await sent((CASE, why)))["cases"]
    assert refused.record_id == "17"
    assert (refused.reason, refused.message) == ("too-large", "COL-0520: is longer than 7 bytes")


async def test_a_part_holds_so_many_lines_and_not_many_more_bytes(sent, spool):
    large = CASE.replace(b'"D"', b'"' + b"x" * (BYTES // 2) + b'"').replace(b"\\u2028", b"y" * (BYTES // 2))
    found = await sent(*[CASE.replace(b'"c"', b'"%d"' % number) for number in range(LINES + 1)], *[large] * 3)
    assert [size for _, size in spool.sizes("r")["cases"]] == [LINES, 3, 1]
    assert len(found["cases"][0]) == LINES + 4


async def test_what_is_not_kept_any_more_is_said(spool, sent):
    with pytest.raises(Misconfigured, match="COL-0267"):
        await Imported(spool, "gone").fetch("cases", {"keys": [0]}, None)
    with pytest.raises(Misconfigured, match="COL-0267"):
        await Imported(spool, "gone").survey()
    await sent(CASE, DIRECTORY)
    spool.drop("r")
    spool.add("r", "cases", 0, 1, b"only a part of it")
    with pytest.raises(Misconfigured, match="COL-0267"):
        await Imported(spool, "r").survey()


DIRECTORIES = [
    b'{"kind":"directory","id":"x","name":"n"}',
    b' { "kind" : "directory", "id":"x","name":"n"}',
    b'\xef\xbb\xbf{"id":"x","name":"n","kind":"directory"}',
    b'{"id":"x","name":"n","kind":"direct\\u006fry"}',
]
CASES = [
    b'{"kind":"case","id":"x","name":"n","content":{"kind":"directory"}}',
    b'{"id":"x","content":{"kind":"directory"},"name":"n","kind":"case"}',
]


@pytest.mark.parametrize("text", DIRECTORIES + CASES)
async def test_lines_of_one_kind_are_read_in_one_stage_however_they_are_written(sent, text):
    ((stage, (records, _)),) = (await sent(text)).items()
    assert [each.kind for each in records] == ["directory" if text in DIRECTORIES else "case"]
    assert stage == ("directories" if text in DIRECTORIES else "cases")
