"""A newcomer's first hour: write a file, see what its source would give, and keep nothing meanwhile."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from collectors import registry
from collectors.errors import Misconfigured
from collectors.models import Collection, Strategy
from deployments.cli import COMMANDS
from deployments.cli.trying import try_
from deployments.definitions import looked_up

BROKEN = """
from pydantic import BaseModel

class House:
    class Parameters(BaseModel):
        base_url: str

    def __init__(self, parameters, http, page_size): pass
    @staticmethod
    def connection(parameters): return {}
    async def survey(self): return [][0]
    async def fetch(self, stage, span, cursor): pass
    def map(self, stage, item): pass
"""


@pytest.fixture
def bare(tmp_path, new_collect):
    """The command in an empty folder, with no Prefect server to talk to."""
    return new_collect(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")


@pytest.mark.parametrize(("collector", "variable"), [("testrail", "TESTRAIL_API_KEY"), ("kiwi", "KIWI_PASSWORD")])
def test_init_writes_a_file_that_lacks_nothing_but_its_source(typed, tmp_path, monkeypatch, collector, variable):
    said = typed("init", "my tests.yaml", "--collector", collector)
    assert f"export {variable}=..." in said.stderr
    assert "collect try 'my tests.yaml'" in said.stderr
    assert f"environment variable {variable}" in typed("plan", "my tests.yaml", exit_code=2).stderr
    monkeypatch.setenv(variable, "secret")
    definition = looked_up("my tests.yaml", [])

    text = (tmp_path / "my tests.yaml").read_text(encoding="utf-8")
    whole = yaml.safe_load(re.sub(r"^( *)# (?=[ a-z_]+:)", r"\1", text, flags=re.MULTILINE))
    assert definition.name == "my-tests"
    assert definition.strategy == Collection.model_validate(whole).strategy == Strategy()
    assert set(whole["source"]) == set(registry.load(collector).Parameters.model_fields)


def test_a_file_is_explained_in_the_users_language(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("COLLECT_LANG", "zh")
    typed("init", "tests.yaml")
    comments = re.findall("# (?![ a-z_]+:)(.*)", (tmp_path / "tests.yaml").read_text(encoding="utf-8"))
    assert "服务器地址；文本" in comments
    assert not [each for each in comments if not re.search("[一-龥]", each)]


def test_init_refuses_to_write_over_a_file_or_into_no_folder(typed, tmp_path):
    (tmp_path / "tests.yaml").write_text("mine")
    refused = typed("init", "tests.yaml", exit_code=2)
    assert "COL-0240" in refused.stderr and "--force" in refused.stderr
    assert (tmp_path / "tests.yaml").read_text() == "mine"
    typed("init", "tests.yaml", "--force")
    assert "collector: testrail" in (tmp_path / "tests.yaml").read_text(encoding="utf-8")
    refused = typed("init", "no where/tests.yaml", exit_code=2)
    assert "COL-0241" in refused.stderr and "mkdir -p 'no where'" in refused.stderr


def test_try_shows_what_a_page_would_become_and_keeps_nothing(bare, testrail, file):
    testrail.headers = {"X-RateLimit-Remaining": "17", "Retry-After": "3", "X-Other": "?"}
    definition = file(testrail.definition(page_size=4))
    directories, cases = bare.json("try", definition, exit_code=3)
    assert [each["record"]["name"] for each in directories["mapped"]] == ["支付"]
    assert directories["cursor"] is None
    assert [(each["raw"]["id"], each["record"]["id"]) for each in cases["mapped"]] == [(1, "1"), (4, "4")]
    assert [(each["position"], each["reason"]) for each in cases["refused"]] == [(1, "missing-id"), (2, "missing-name")]
    assert (cases["items"], cases["cursor"]) == (4, 4)
    assert cases["limits"] == {"x-ratelimit-remaining": "17", "retry-after": "3"}

    shown = bare("try", definition, "--stage", "cases", "--cursor", "4", exit_code=3).stdout
    for text in (
        "cases 0..: 1 items",
        "no id either",
        "missing-id",
        "none: the shard ends",
        "x-ratelimit-remaining: 17",
    ):
        assert text in shown
    assert "directories" not in shown
    assert not bare.home.exists()


def test_what_to_type_next_works_when_it_is_typed_and_repeats_no_secret(typed, testrail, file):
    options = ["--set", "strategy.page_size=4", "--set", "source.api_key=secret-key"]
    definition = str(Path(file(testrail.definition())).rename("my tests.yaml"))
    said = typed("try", definition, *options, exit_code=3).stderr
    *words, secret = shlex.split(said.rpartition("cut: ")[2])
    assert words == ["collect", "plan", definition, *options[:-1]] and secret == "source.api_key=..."
    said = typed(*words[1:], "source.api_key=secret-key", "--tenant", "a b").stderr
    assert shlex.split(said.rpartition("collect it: ")[2])[:3] == ["collect", "run", definition]
    assert said.endswith(" --tenant 'a b'\n")


def test_plan_shows_shards_requests_and_limits_and_keeps_nothing(bare, testrail, file):
    definition = file(testrail.definition())
    asked = ("plan", definition, "--set", "strategy.shard_size=4", "--set", "strategy.page_size=2")
    found = bare.json(*asked)
    shards = [(each["shard_id"], each["range"], each["estimate"], each["requests"]) for each in found["shards"]]
    assert shards == [
        ("s01", "directories 0..", 1, 1),
        ("s02", "cases 0..3", 4, 2),
        ("s03", "cases 4..", 1, 1),
    ]
    assert (found["estimate"], found["requests"]) == (6, 4)
    assert found["stages"] == [{"stage": "directories", "estimate": 1}, {"stage": "cases", "estimate": 5}]
    words = bare(*asked)
    assert words.stdout.splitlines()[1] == "s02\tcases 0..3\t4\t2"
    assert "4 shards side by side, 2 records a request" in words.stderr
    assert "1 tries of a request" in words.stderr
    assert not bare.home.exists()


@pytest.mark.parametrize(
    ("stage", "cursor", "said"),
    [("case", None, "Did you mean cases?"), (None, "4", "COL-0242"), ("cases", "[1]", "COL-0244")],
)
def test_try_says_which_stages_and_cursors_there_are(testrail, file, stage, cursor, said):
    with pytest.raises(Misconfigured) as refused:
        try_(file(testrail.definition()), stage=stage, cursor=cursor)
    assert said in str(refused.value)


def test_a_source_that_does_not_answer_is_given_up_soon(bare, testrail, file):
    testrail.broken = "get_sections"
    strategy = {"retry": {"attempts": 50, "initial": 0.01, "maximum": 0.02}}
    process = bare("try", file(testrail.definition(**strategy)), exit_code=1)
    assert "failed with 500" in process.stderr
    assert "stamina" not in process.stderr
    assert testrail.asked == 2


def test_a_plug_in_that_breaks_is_no_traceback(typed, file, testrail, plug_in):
    plug_in("house_broken:House", BROKEN)
    definition = {"name": "house", "collector": "house", "source": {"base_url": testrail.url}}
    refused = typed("plan", file(definition), exit_code=1)
    assert "COL-0101" in refused.stderr and "IndexError" in refused.stderr and "house_broken.py:" in refused.stderr
    assert "base_url\ttext\tyes\t" in typed("collectors", "show", "house").stdout


def test_the_keys_of_a_collector_are_shown_with_a_sample(typed):
    found = typed("collectors", "show", "kiwi", "--json").json
    keys = {each["key"]: (each["type"], each["required"]) for each in found["parameters"]}
    assert keys == {"base_url": ("text", True), "username": ("text", True), "password": ("secret", True)}
    assert yaml.safe_load(found["sample"])["source"]["password"] == "env:KIWI_PASSWORD"
    assert "suite_id\twhole number\tno\t" in typed("collectors", "show", "testrail").stdout
    assert "Did you mean kiwi?" in typed("collectors", "show", "kiwy", exit_code=2).stderr
    assert [each["name"] for each in typed("collectors", "--json").json] == ["kiwi", "testrail"]


def test_the_completion_script_is_one_and_knows_the_commands(bare):
    script = bare("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert all(command in script for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_line_by_line(typed, command):
    lines = typed(command, "--help").stdout.splitlines()
    following = lines[lines.index("Examples") + 1 :]
    examples = following[: following.index("")] if "" in following else following
    assert 1 <= len(examples) <= 3
    assert all(line.startswith(f"    $ collect {command}") for line in examples)


@pytest.mark.parametrize(
    ("command", "name"), [("run", "COLLECTION"), ("try", "COLLECTION"), ("resume", "TARGET"), ("show", "ID")]
)
def test_what_is_missing_is_named_as_it_is_typed(typed, command, name):
    said = typed(command, exit_code=2).stderr
    assert name in said and "--" not in said.splitlines()[0]


@pytest.mark.parametrize(
    ("command", "shown"),
    [("try", ["3"]), ("search", ["20"]), ("quarantine", ["1000"]), ("init", ["collection.yaml", "testrail"]),
     ("sample", ["8765", "20000", "800", "1", "250"]), ("run", [])],
)  # fmt: skip
def test_help_shows_the_defaults_a_user_cares_for(typed, command, shown):
    text = re.sub(r"[\s│]+", " ", typed(command, "--help").stdout)
    assert re.findall(r"\[default: (.*?)\]", text) == shown


def test_what_is_shown_is_labelled_in_the_users_language(typed, testrail, gathered, file, tmp_path, monkeypatch):
    definition = testrail.definition()
    run_id = gathered(tmp_path / "home", definition)
    monkeypatch.setenv("COLLECT_LANG", "zh")
    of_run = typed("status", run_id).stdout
    assert f"运行        {run_id}\n" in of_run
    assert "已读取 6/6，已应用 3，隔离 3，已结束" in of_run
    shown = typed("show", "1", "--kind", "case").stdout
    tried = typed("try", file(definition), exit_code=3).stdout
    assert "  映射        成功 2，拒绝 3\n" in tried
    fields = shown.partition("\n    {")[0].partition("\n")[2]
    for line in "\n".join([of_run, fields, tried]).splitlines():
        assert re.match(" *[一-龥]|directories|cases|$", line), line


def test_a_collection_is_not_said_to_be_unknown_while_nobody_tells_where_the_stores_are(new_collect, tmp_path):
    collect = new_collect(tmp_path / "home", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert "COL-0730" in collect("plan", "cases", exit_code=5).stderr
