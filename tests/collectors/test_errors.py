"""The text of an error: kept as it can be taken apart again, shown on one line."""

import pytest

from collectors.errors import Misconfigured, Rejected, in_a_line, named, parted
from collectors.language import LANGUAGE

SAID = '{server} failed with 500: "Oops. Try later"'
REMEDY = "Ask the source's owner. Then: collect resume."
FAILED = Misconfigured(SAID, REMEDY, code="COL-0314", server="http://a.example")
WHAT = 'http://a.example failed with 500: "Oops. Try later"'


def test_a_text_is_parted_where_the_source_has_no_word():
    assert parted(str(FAILED)) == ("COL-0314", WHAT, REMEDY)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\u2028"])
def test_no_fact_can_end_a_part(end):
    error = Misconfigured("it said {said}", "{advice}", code="HOUSE-1", said=f"one{end}two", advice=f"three{end}four")
    assert str(error).count("\n") == 1
    code, what, remedy = parted(str(error))
    assert (code, what.split(), remedy.split()) == ("HOUSE-1", ["it", "said", "one", "two"], ["three", "four"])


@pytest.mark.parametrize("error", [named(KeyError("a\nb: c. D")), Rejected("missing-id", "has no id: x. Y")])
def test_every_error_is_parted_as_it_was_made(error):
    assert parted(str(error)) == (error.code, error.what, error.remedy)


@pytest.mark.parametrize("text", ["stopped", 'COL-0314 failed with 500: "Oops. Try later"', "it failed: COL-0314: a"])
def test_what_is_no_text_of_an_error_has_no_code(text):
    assert parted(text) == ("", text, "")


def test_a_text_that_was_kept_on_one_line_is_not_torn():
    assert parted(f"COL-0314: {WHAT}. {REMEDY}") == ("COL-0314", f"{WHAT}. {REMEDY}", "")


@pytest.mark.parametrize(("language", "between"), [("en", ". "), ("zh", "。")])
def test_people_read_it_on_one_line(language, between):
    before = LANGUAGE.set(language)
    try:
        assert in_a_line(f"COL-0314: {WHAT}\n{REMEDY}") == f"COL-0314: {WHAT}{between}{REMEDY}"
    finally:
        LANGUAGE.reset(before)


@pytest.mark.parametrize("text", [None, "stopped", "COL-0314: a. B"])
def test_what_has_no_second_part_is_shown_as_it_is(text):
    assert in_a_line(text) == text
