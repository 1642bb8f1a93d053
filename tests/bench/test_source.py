"""The source of the benchmark answers like TestRail, as much as collecting asks of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.source import Source, serving


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    with serving(1000) as found:
        yield found


def asked(address: str, kind: str, limit: int, offset: int, **headers: str) -> httpx.Response:
    query = f"/index.php?/api/v2/get_{kind}/1&suite_id=1&limit={limit}&offset={offset}"
    return httpx.get(address + query, headers=headers, trust_env=False)


def cases(source: Source) -> list[dict[str, Any]]:
    return [
        case for offset in range(0, 1000, 250) for case in asked(source.plain, "cases", 250, offset).json()["cases"]
    ]


def test_pages_follow_each_other_until_there_are_none(source):
    source.show("all")
    assert [case["id"] for case in cases(source)] == list(range(1, 1001))
    assert asked(source.plain, "cases", 250, 1000).json()["cases"] == []
    assert [case["id"] for case in asked(source.plain, "cases", 1, 500).json()["cases"]] == [501]
    assert len(asked(source.plain, "sections", 250, 0).json()["sections"]) == 10


def test_cases_have_about_a_kilobyte_and_one_per_cent_of_them_changes(source):
    source.show("all")
    before = cases(source)
    assert 900 < len(asked(source.plain, "cases", 250, 0).content) / 250 < 1100
    source.show("changed")
    assert sum(old != new for old, new in zip(before, cases(source), strict=True)) == 10


def test_only_the_conditional_address_answers_that_nothing_changed(source):
    source.show("all")
    tag = asked(source.conditional, "cases", 250, 0).headers["etag"]
    assert asked(source.conditional, "cases", 250, 0, **{"If-None-Match": tag}).status_code == 304
    assert not {"etag", "last-modified"} & set(asked(source.plain, "cases", 250, 0).headers)
    source.show("changed")
    assert asked(source.conditional, "cases", 250, 0, **{"If-None-Match": tag}).status_code == 200
