"""The registry: built-in collectors and real plug-ins, and errors that name the nearest right word, never a secret."""

import pytest
from pydantic import BaseModel, Field

from collectors.errors import CollectError, Misconfigured
from collectors.language import LANGUAGE
from collectors.models import Collection
from collectors.registry import checked_source, connected, load, names, same_source
from collectors.sources import testrail
from collectors.validating import validated

SOURCE = {"base_url": "http://127.0.0.1:9", "project_id": 1, "username": "reader", "api_key": "env:KEY"}
SECRET = "s3cr3t-word"


def definition(collector: str = "testrail", **source) -> Collection:
    return Collection(name="c", collector=collector, source=SOURCE | source)


def refusal(values, model=Collection, where="") -> str:
    with pytest.raises(Misconfigured) as caught:
        validated(model, values, where)
    return caught.value.what


# ---- collectors ------------------------------------------------------------------------------------------


def test_built_in_collectors_are_listed_and_every_listed_one_loads():
    assert {"kiwi", "testrail"} <= set(names())
    assert names() == sorted(names())
    assert load("testrail") is testrail.TestRail
    assert all(issubclass(load(name).Parameters, BaseModel) for name in ("kiwi", "testrail"))


@pytest.mark.parametrize("word", ["testrial", "TestRail", "test_rail"])
def test_a_misspelt_collector_names_the_nearest(word):
    with pytest.raises(Misconfigured, match=f"no collector '{word}'\nDid you mean testrail"):
        load(word)


def test_a_word_like_no_collector_gets_no_guess():
    with pytest.raises(Misconfigured) as caught:
        load("jira-cloud-x")
    assert "Did you mean" not in str(caught.value)
    assert "collect collectors" in str(caught.value)


WHOLE = """
from pydantic import BaseModel

class House:
    \"\"\"A house.\"\"\"

    class Parameters(BaseModel):
        base_url: str

    @staticmethod
    def connection(parameters): ...
    async def survey(self): ...
    async def fetch(self, stage, span, cursor): ...
    def map(self, stage, item): ...
"""
STUB = """
from pydantic import BaseModel
from collectors.interfaces import Collector

class House(Collector):
    class Parameters(BaseModel):
        base_url: str

    async def fetch(self, stage, span, cursor): ...
"""


def test_an_installed_plug_in_is_a_collector_like_the_others(plug_in):
    plug_in("house_good:House", WHOLE)
    assert "house" in names()
    assert load("house").__name__ == "House"
    with pytest.raises(Misconfigured, match="Did you mean house"):
        load("hose")


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("house_import:House", "import there_is_no_such_module\n", "ModuleNotFoundError: No module named"),
        ("house_attribute:House", "", "AttributeError: module 'house_attribute' has no"),
        ("house_syntax:House", "class House\n", "SyntaxError: "),
        ("house_raises:House", "raise RuntimeError('at import\\nand more')\n", r"RuntimeError: at import\)"),
        ("house_exits:House", "raise SystemExit('needs a newer Python')\n", "SystemExit: needs a newer Python"),
        ("house_value", "", "has no class"),
        ("house_function:House", "def House(): ...\n", "has no class"),
        ("house_empty:House", "class House: ...\n", "has no Parameters, connection, survey, fetch, map"),
        ("house_parameters:House", WHOLE.replace("(BaseModel)", ""), r"has no Parameters\n"),
        ("house_address:House", WHOLE.replace("base_url", "address"), r"has no Parameters\.base_url"),
        ("house_abstract:House", STUB, r"has no connection, survey, map\n"),
    ],
    ids=lambda found: found if ":" in found or found == "house_value" else "",
)
def test_a_plug_in_that_cannot_be_used_says_why_and_where_it_comes_from(plug_in, value, code, why):
    plug_in(value, code)
    with pytest.raises(Misconfigured, match=why) as caught:
        load("house")
    assert f"'house' of {value.partition(':')[0]} ({value})" in caught.value.what


def test_an_interrupt_during_an_import_is_for_the_process(plug_in):
    plug_in("house_interrupted:House", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("house")


@pytest.mark.parametrize("name", ["house", "testrail"])
def test_a_name_that_two_packages_claim_is_refused_with_both(plug_in, name):
    plug_in("house_one:House", WHOLE, name)
    plug_in("house_two:House", WHOLE, name)
    assert names().count(name) == 1
    with pytest.raises(Misconfigured, match=r"house_one \(house_one:House\), house_two \(house_two:House\)") as caught:
        load(name)
    assert ("platform-collect (collectors.sources.testrail:TestRail)" in str(caught.value)) == (name == "testrail")
    assert load("kiwi").__name__ == "Kiwi"


def test_the_command_lists_what_cannot_be_used_beside_what_can(plug_in, tmp_path, new_collect):
    plug_in("house_good:House", WHOLE, "good")
    plug_in("house_exits:House", "import sys; sys.exit(7)\n", "exits")
    plug_in("house_rail:House", WHOLE, "testrail")
    collect = new_collect(tmp_path / "home", PYTHONPATH=str(tmp_path))
    rows = {row["name"]: row for row in collect.json("collectors")}
    assert rows["good"] == {"name": "good", "summary": "A house.", "parameters": ["base_url"], "error": None}
    assert rows["exits"]["error"].startswith("COL-0231: collector 'exits' of house_exits (house_exits:House) cannot")
    assert rows["testrail"]["error"].startswith("COL-0232: ")
    assert rows["kiwi"]["error"] is None


async def test_connected_gives_a_collector_that_asks_the_source(scripted, reply):
    async with scripted(reply({"offset": 0, "sections": [], "cases": []})) as server:
        collection = definition(base_url=server.url)
        async with connected(collection, {"KEY": SECRET}.get) as (collector, http):
            assert [stage.total for stage in await collector.survey()] == [0, 0]
            assert http.base_url == server.url
    assert len(server.asked) == 2
    assert server.asked[0].headers["authorization"].startswith("Basic ")


def test_every_refusal_has_its_code(plug_in):
    plug_in("house_exits:House", "raise SystemExit\n")
    plug_in("house_rail:House", WHOLE, "testrail")
    plug_in("house_empty:House", "class House: ...\n", "empty")
    refusals = {
        "COL-0230": lambda: load("nothing"),
        "COL-0231": lambda: load("house"),
        "COL-0232": lambda: load("testrail"),
        "COL-0233": lambda: load("empty"),
        "COL-0234": lambda: checked_source(definition("kiwi"), {}.get),
        "COL-0235": lambda: validated(Collection, {}, ""),
    }
    for code, refused in refusals.items():
        with pytest.raises(Misconfigured, match=f"^{code}: "):
            refused()


def test_refusals_are_said_in_the_language_of_their_reader():
    token = LANGUAGE.set("zh")
    try:
        assert refusal(GOOD | {"colector": "x"}).startswith(
            "未知的键 'colector'。您是想写 collector 吗？这里可用的键："
        )
        assert "；未知的键 'sorce'。" in refusal(GOOD | {"colector": "x", "sorce": {}})
        with pytest.raises(Misconfigured, match="没有名为 'testrial' 的采集器\n您是想写 testrail 吗？用 collect"):
            load("testrial")
    finally:
        LANGUAGE.reset(token)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({}, "mode range needs a scope"),
        ({"ids": "200..100"}, "200..100 is an empty range"),
        ({"ids": "1,2,3"}, "scope.ids: are neither one number nor a range"),
        ({"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since comes after until"),
        ({"ids": "many"}, "scope.ids: are neither one number nor a range, such as 100..200"),
        ({"since": "2026-01-01T00:00:00"}, "scope.since: is no time with a zone"),
        ({"since": "soon"}, "scope.since: is no time with a zone"),
    ],
)
def test_a_part_that_does_not_fit_is_advised_on_parts(scope, said):
    with pytest.raises(Misconfigured) as refused:
        validated(Collection, GOOD | {"mode": "range", "scope": scope}, "")
    assert said in refused.value.what
    advice = "Numbers are one, as 100, or a range" if scope else "Name a part by under, ids, since or until"
    assert advice in refused.value.remedy


@pytest.mark.parametrize("value", ["abc", -1, 1.5, [], None])
def test_what_may_be_one_of_two_things_is_explained_once_and_without_the_names_of_code(value):
    said = refusal(GOOD | {"strategy": {"max_errors": value}})
    share = "has to be a number of records, or a share of them such as 5%"
    assert said == f"strategy.max_errors: {share} (found {value!r})"


# ---- parameters ------------------------------------------------------------------------------------------


def test_a_policy_that_is_kept_under_its_former_name_is_the_same():
    assert validated(Collection, GOOD | {"strategy": {"on_failure": "stop"}}, "").strategy.on_failure == "fail-fast"


@pytest.mark.parametrize(
    ("changes", "same"),
    [({}, True), ({"api_key": "another"}, True), ({"project_id": 2}, False), ({"suite_id": 3}, False)],
)
def test_sources_are_the_same_where_all_but_their_secrets_is(changes, same):
    one = definition(base_url="http://x", project_id=1, username="u", api_key="k")
    other = one.model_copy(update={"source": one.source | changes})
    assert same_source(one, other) is same


def test_a_reference_takes_the_value_of_its_variable():
    found = checked_source(definition(username="env:USER_NAME"), {"KEY": SECRET, "USER_NAME": "anna"}.get)
    assert (found.username, found.api_key.get_secret_value()) == ("anna", SECRET)


def test_a_value_of_a_variable_is_no_reference_itself():
    assert checked_source(definition(), {"KEY": "env:KEY"}.get).api_key.get_secret_value() == "env:KEY"


def test_an_empty_variable_is_a_value():
    assert checked_source(definition(), {"KEY": ""}.get).api_key.get_secret_value() == ""


def test_a_variable_that_is_not_set_is_named_with_its_key():
    with pytest.raises(Misconfigured, match=r"source\.api_key refers to the environment variable KEY, which is not"):
        checked_source(definition(), {}.get)


@pytest.mark.parametrize(
    ("key", "variable"),
    [("api_kei", SECRET), ("base_url", f"http://reader:{SECRET}@host"), ("base_url", f"{SECRET} is no address")],
)
def test_a_refused_value_is_not_shown(key, variable):
    with pytest.raises(Misconfigured) as caught:
        checked_source(definition(**{key: "env:OTHER"}), {"KEY": SECRET, "OTHER": variable}.get)
    assert SECRET not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("wrong", [[SECRET], {"value": SECRET}, 7])
def test_a_secret_of_the_wrong_type_is_not_shown(wrong):
    with pytest.raises(Misconfigured) as caught:
        checked_source(definition(api_key=wrong), {}.get)
    assert "source.api_key" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_parameters_do_not_show_their_secret():
    found = checked_source(definition(), {"KEY": SECRET}.get)
    assert SECRET not in f"{found} {found!r} {found.model_dump()}"


# ---- validated -------------------------------------------------------------------------------------------

GOOD = {"name": "c", "collector": "testrail", "source": {}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"colector": "x"}, "unknown key 'colector'. Did you mean collector?"),
        ({"strategy": {"shard_sise": 1}}, "unknown key 'strategy.shard_sise'. Did you mean shard_size?"),
        ({"strategy": {"retry": {"atempts": 1}}}, "unknown key 'strategy.retry.atempts'. Did you mean attempts?"),
        ({"strategy": {"zzz": 1}}, "unknown key 'strategy.zzz'. Known here: concurrency, "),
        ({"strategy": {"concurrency": 0}}, "strategy.concurrency: Input should be greater than or equal to 1"),
        ({"strategy": {"retry": 5}}, "strategy.retry: "),
    ],
)
def test_what_is_wrong_is_named_with_its_place(values, said):
    assert said in refusal(GOOD | values)


def test_what_is_missing_is_named():
    assert refusal({"name": "c"}, where="cases.yaml") == "cases.yaml.collector is missing; cases.yaml.source is missing"


def test_all_mistakes_are_named_at_once():
    said = refusal(GOOD | {"colector": "x", "strategy": {"page_size": 0, "shards": 3}})
    assert all(word in said for word in ("'colector'", "strategy.page_size", "'strategy.shards'"))


@pytest.mark.parametrize("values", [None, [], "text", 7])
def test_something_else_than_keys_and_values_is_refused(values):
    assert refusal(values, where="cases.yaml").startswith("cases.yaml: ")


def test_good_values_become_the_model():
    assert validated(Collection, GOOD, "") == Collection(**GOOD)


class Part(BaseModel):
    model_config = {"extra": "forbid"}

    size: int = 1


class WithParts(BaseModel):
    """Parameters as a plug-in may have them."""

    part: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    named: dict[str, Part] = Field(default_factory=dict)


@pytest.mark.parametrize(
    "values",
    [{"part": {"sise": 1}}, {"parts": [{"sise": 1}]}, {"named": {"x": {"sise": 1}}}],
    ids=["optional", "list", "mapping"],
)
def test_an_unknown_key_is_named_in_parts_of_any_shape(values):
    with pytest.raises(CollectError, match="sise"):
        validated(WithParts, values, "source")
