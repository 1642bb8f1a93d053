"""What a search compares: folded text of the same length, words as they are typed, hits that are marked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.terms import PAIR, Found, find, folded, pairs, texts, words

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def found(query, *searched):
    return find(words(query), searched)


@given(TEXT)
def test_folding_keeps_the_length_and_is_the_same_for_each_character_alone(text):
    assert folded(text) == "".join(map(folded, text))
    assert len(folded(text)) == len(text)
    assert folded(folded(text)) == folded(text)


@given(TEXT)
def test_pairs_are_every_two_neighbouring_characters(text):
    cut = pairs(text)
    assert [cut[at : at + PAIR] for at in range(0, len(cut), PAIR)] == [f"{a}{b} " for a, b in pairwise(f"{text}\0")]


@given(TEXT, st.integers(0))
def test_every_two_neighbouring_characters_of_a_text_find_it(text, at):
    # With a Chinese character beside them, since ASCII letters are found from the beginning of their word on only.
    text = f"退{text}款"
    at %= len(text) - 1
    query = text[at : at + 2]
    hit = found(query, ("steps", text))
    assert hit or query.isascii()
    assert hit is None or "【" in hit.snippet


@given(st.lists(st.text("abcXYZ019", min_size=1), min_size=1))
def test_every_ascii_word_and_its_beginnings_find_a_text(said):
    text = " - ".join(said)
    assert all(found(word[:length], ("name", text)) for word in said for length in range(1, len(word) + 1))


@pytest.mark.parametrize(
    ("query", "text", "snippet"),
    [
        ("退款", "申请退款成功", "申请【退款】成功"),
        ("REFUND", "a Refund of", "a 【Refund】 of"),
        ("fun", "refund", None),
        ("v2", "v22 Kv2 版v2", "【v2】2 Kv2 版【v2】"),
        ("页面 面加", "页面加载", "【页面加】载"),
        ("100%", "100 % 与 100%", "100 % 与 【100%】"),
        ('"AND" *', '"AND" * NOT', '【"AND"】 【*】 NOT'),
        ("STRASSE", "straße", None),
        ("i̇x", "İX", None),
        ("x", "İX", "İ【X】"),
    ],
)
def test_hits_are_marked_where_they_stand(query, text, snippet):
    assert found(query, ("name", text)) == (snippet and Found("name", snippet))


def test_a_snippet_is_cut_around_its_first_hit():
    hit = found("退款", ("steps", f"{'前' * 100}退款{'后' * 20}退款{'末' * 100}"))
    assert hit.snippet == f"…{'前' * 30}【退款】{'后' * 20}【退款】{'末' * 8}…"


def test_every_word_has_to_occur_and_the_field_with_most_of_them_is_shown():
    searched = [("name", "退款"), ("steps", "打开页面"), ("steps", "页面显示失败")]
    assert found("页面 失败", *searched) == Found("steps", "【页面】显示【失败】")
    assert found("退款 失败", *searched) == Found("name", "【退款】")
    assert found("退款 银河", *searched) is None


def test_names_and_the_four_texts_are_searched_and_nothing_else():
    content = {"steps": ["一", None, {"a": 1}], "expectedResults": [], "description": "二", "custom": {"x": "三"}}
    assert texts("名", content | {"preconditions": 4}) == [("name", "名"), ("description", "二"), ("steps", "一")]
