"""A collection file is understood, or refused in words that name the key and keep the secret."""

import tracemalloc
from itertools import pairwise

import pytest
import yaml

from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured
from deployments import definitions
from deployments.definitions import shipped

SECRET = "hunter2-s3cret"
SOURCE = {"base_url": "http://tests.example", "project_id": 1, "username": "reader", "api_key": SECRET}
VALUES = {"name": "cases", "collector": "testrail", "source": SOURCE}


def resolve(name, overrides, registry):
    """The definition, remembered as a run does once its source has answered."""
    found = definitions.resolve(name, overrides, registry)
    if found.of_file:
        registry.remember(found.of_file)
    return found.definition


@pytest.fixture
def registry(tmp_path):
    with open_storage(Settings(tmp_path / "home", None)) as storage:
        yield storage.registry


@pytest.fixture
def file(tmp_path):
    """Writes a collection file: of text, bytes, or of values that are changed by dotted keys (None takes one away)."""

    def written(content=None, called="cases.yaml", **changes):
        path = tmp_path / called
        if content is None:
            content = yaml.safe_dump(changed(VALUES, changes), allow_unicode=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return written


def changed(values, changes):
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return values


def refused(name, registry, *overrides):
    """What is said about it, all of it."""
    with pytest.raises(Misconfigured) as error:
        resolve(name, overrides, registry)
    said = str(error.value)
    assert SECRET not in said
    assert "Traceback" not in said
    assert "\n" not in error.value.what
    return said


# ---- files that are understood -----------------------------------------------------------------------------


def test_a_file_is_a_definition_with_the_usual_strategy(file, registry):
    found = resolve(file(), (), registry)
    assert (found.name, found.collector, found.source, found.mode, found.tenant) == (
        "cases", "testrail", SOURCE, "full", "default",
    )  # fmt: skip
    assert (found.strategy.concurrency, found.strategy.retry.attempts) == (4, 6)


def test_a_file_says_how_gently_its_source_is_treated(file, registry):
    found = resolve(file(**{"strategy.concurrency": 1, "strategy.retry.attempts": 2}), (), registry)
    assert (found.strategy.concurrency, found.strategy.retry.attempts, found.strategy.page_size) == (1, 2, 250)


@pytest.mark.parametrize("name", ["用例", "支付-退款_2024", "é", "a.b", "cases"])
def test_names_are_of_any_language(file, registry, name):
    resolve(file_named(file, name), (), registry)
    assert resolve(name, (), registry).name == name


def file_named(file, name):
    return file(yaml.safe_dump(VALUES | {"name": name}, allow_unicode=True))


@pytest.mark.parametrize("name", ["cases.yml", "cases", "用例.yaml"])
def test_a_file_may_be_called_anything(file, registry, name):
    assert resolve(file(called=name), (), registry).name == "cases"


def test_a_file_may_begin_with_a_byte_order_mark(file, registry):
    assert resolve(file(b"\xef\xbb\xbf" + yaml.safe_dump(VALUES).encode()), (), registry).name == "cases"


# ---- names -------------------------------------------------------------------------------------------------


def test_a_name_is_remembered_once_its_file_was_used(file, registry):
    from_file = resolve(file(), (), registry)
    assert resolve("cases", (), registry) == from_file


def test_the_file_that_was_used_last_is_what_a_name_means(file, registry):
    resolve(file(), (), registry)
    resolve(file(**{"strategy.concurrency": 9}), (), registry)
    assert resolve("cases", (), registry).strategy.concurrency == 9


def test_a_file_that_is_refused_is_not_remembered(file, registry):
    refused(file(**{"source.project_id": "many"}), registry)
    assert registry.definitions("default") == []


def test_shipped_collections_are_known_by_name_and_give_way_to_ones_of_that_name(file, registry):
    assert "demo" in [each.name for each in shipped()]
    assert resolve("demo", (), registry).source["base_url"] == "http://127.0.0.1:8765"
    resolve(file_named(file, "demo"), (), registry)
    assert resolve("demo", (), registry).source["base_url"] == "http://tests.example"


@pytest.mark.parametrize(("name", "meant"), [("dmo", "demo"), ("casses", "cases"), ("zzz", None)])
def test_an_unknown_name_is_answered_with_the_nearest_one(file, registry, name, meant):
    resolve(file(), (), registry)
    said = refused(name, registry)
    assert repr(name) in said
    assert "collect list" in said
    assert ("Did you mean" in said) == (meant is not None)
    assert meant is None or f"Did you mean {meant}?" in said


# ---- files that are refused --------------------------------------------------------------------------------

UNKNOWN = [
    ("colector", "collector"),
    ("sorce", "source"),
    ("source.base_ulr", "base_url"),
    ("source.apikey", "api_key"),
    ("strategy.concurency", "concurrency"),
    ("strategy.pagesize", "page_size"),
    ("strategy.retry.attempt", "attempts"),
    ("strategy.retry.max", "maximum"),
]


@pytest.mark.parametrize(("key", "nearest"), UNKNOWN)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_right_one(file, registry, key, nearest):
    path = file(**{key: "1"})
    said = refused(path, registry)
    assert path in said
    assert f"unknown key {key!r}" in said
    assert f"Did you mean {nearest}?" in said
    assert "Known here: " in said


@pytest.mark.parametrize(("key", "nearest"), UNKNOWN)
def test_an_unknown_key_that_is_set_is_named_the_same_way(file, registry, key, nearest):
    said = refused(file(), registry, f"{key}=1")
    assert f"unknown key {key!r}" in said
    assert f"Did you mean {nearest}?" in said


def test_every_wrong_key_is_named_at_once(file, registry):
    said = refused(file(**{"nmae": "x", "strategy.concurrency": 0, "collector": None}), registry)
    for key in ("nmae", "strategy.concurrency", "collector is missing"):
        assert key in said
    assert "collect collectors show NAME" in said


@pytest.mark.parametrize(
    "key", ["name", "collector", "source", "source.base_url", "source.project_id", "source.username", "source.api_key"]
)
def test_a_missing_key_is_named(file, registry, key):
    assert f"{key} is missing" in refused(file(**{key: None}), registry)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 7),
        ("name", ["cases"]),
        ("name", ""),
        ("name", "a b"),
        ("name", "a/b"),
        ("name", "a:b"),
        ("name", "a\n"),
        ("name", "n" * 101),
        ("collector", 7),
        ("collector", ""),
        ("source", "http://tests.example"),
        ("source", [1]),
        ("source.project_id", "many"),
        ("source.project_id", 0),
        ("source.username", 7),
        ("source.username", {"a": 1}),
        ("strategy", 4),
        ("strategy.concurrency", "two"),
        ("strategy.concurrency", 0),
        ("strategy.concurrency", 65),
        ("strategy.page_size", 10_001),
        ("strategy.on_failure", "panic"),
        ("strategy.retry", 3),
        ("strategy.retry.attempts", 0),
        ("strategy.retry.initial", -1),
        ("mode", "sometimes"),
        ("tenant", "a b"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(file, registry, key, value):
    path = file(yaml.safe_dump(changed(VALUES, {key: value}), allow_unicode=True))
    said = refused(path, registry)
    assert path in said
    assert f"{key}: " in said


def test_a_mode_that_is_not_supported_says_which_are(file, registry):
    assert "'full'" in refused(file(mode="sometimes"), registry)


@pytest.mark.parametrize("value", [12345, True, ["a"], {"a": SECRET}])
def test_a_key_that_is_no_text_is_named_and_not_shown(file, registry, value):
    said = refused(file(**{"source.api_key": value}), registry)
    assert "source.api_key: " in said
    assert "12345" not in said


@pytest.mark.parametrize(
    "base_url",
    [
        "tests.example",
        "ftp://tests.example",
        "http://",
        "http://tests.example:port",
        "http://tests.example:99999",
        f"http://reader:{SECRET}@tests.example",
        f"http://tests.example/?key={SECRET}",
        "http://tests.example/#top",
        "",
        7,
    ],
)
def test_an_address_that_cannot_be_asked_is_refused(file, registry, base_url):
    assert "source.base_url: " in refused(file(**{"source.base_url": base_url}), registry)


@pytest.mark.parametrize(("collector", "meant"), [("testrial", "testrail"), ("TestRail", "testrail"), ("zzz", None)])
def test_an_unknown_collector_is_answered_with_the_nearest_one(file, registry, collector, meant):
    said = refused(file(collector=collector), registry)
    assert f"there is no collector {collector!r}" in said
    assert "collect collectors" in said
    assert meant is None or f"Did you mean {meant}?" in said


@pytest.mark.parametrize(
    "text",
    [
        "name: [cases",
        "name: cases\n\tcollector: testrail",
        "a: b: c",
        "- a\nb: c",
        "name: !!python/object:os.system {}",
        "@",
        "name: cases\x00",
    ],
)
def test_what_is_not_yaml_is_refused_with_its_place(file, registry, text):
    path = file(text)
    said = refused(path, registry)
    assert f"{path} is not valid YAML" in said
    assert "line" in said or "position" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a: [{SECRET}", "expected ',' or ']', but got '<stream end>'"),
        (f"a:\n\t- {SECRET}", r"found character '\t' that cannot start any token"),
        (f'a: "{SECRET}\\q"', "found unknown escape character ..."),
        (f"a: !x{SECRET}!y z", "found undefined tag handle ..."),
        (f"a: !{SECRET}", ")"),
    ],
)
def test_yamls_own_reason_is_said_without_what_stands_there(file, registry, text, reason):
    assert reason in refused(file(text), registry)


@pytest.mark.parametrize("text", ["", "# nothing\n", "cases", "- name: cases", "7", "---\n...\n"])
def test_what_is_no_mapping_is_refused_with_an_example(file, registry, text):
    said = refused(file(text), registry)
    assert "does not hold a collection" in said
    assert "name:" in said


def test_several_documents_in_one_file_are_refused(file, registry):
    refused(file(yaml.safe_dump_all([VALUES, VALUES])), registry)


@pytest.mark.parametrize("key", [1, True, None])
def test_a_key_that_is_no_text_is_refused(file, registry, key):
    refused(file(yaml.safe_dump(VALUES | {key: "x"})), registry)


@pytest.mark.parametrize("content", ["name: 支付".encode("gbk"), "name: 支付".encode("utf-16"), b"\xff\xfe\x00"])
def test_a_file_that_is_not_utf_8_is_refused(file, registry, content):
    path = file(content)
    assert f"{path} is not UTF-8" in refused(path, registry)


def test_a_file_that_is_not_there_is_named(tmp_path, registry):
    path = str(tmp_path / "nowhere.yaml")
    said = refused(path, registry)
    assert f"{path} cannot be read" in said and said.endswith(f"collect init {path}")


def test_a_folder_is_no_file(tmp_path, registry):
    (tmp_path / "folder.yaml").mkdir()
    assert "is a folder" in refused(str(tmp_path / "folder.yaml"), registry)
    assert "is a folder" in refused(str(tmp_path), registry)


def test_a_known_name_wins_over_a_folder(file, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("demo", VALUES["name"], "other"):
        (tmp_path / name).mkdir()
    resolve(file(), (), registry)
    assert resolve("demo", (), registry).name == "demo"
    assert resolve(VALUES["name"], (), registry).name == VALUES["name"]
    assert "is a folder" in refused("other", registry)


def test_an_empty_name_is_told_so(registry):
    assert "the name of a collection is missing" in refused("", registry)


@pytest.mark.parametrize("name", ["n" * 5000, "a\0b", "支" * 300], ids=["long", "null", "wide"])
def test_a_name_no_file_can_have_is_answered_like_any_other(registry, name):
    assert "there is no collection" in refused(name, registry)


BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}, *{p}]\n" for p, n in pairwise("abcdefghijklmnop"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (BOMB, "COL-0215"),
        ("name: &name cases\ncollector: *name\n", "COL-0215"),
        ("base: &base {a: 1}\nsource:\n  <<: *base\n", "COL-0215"),
        ("[" * 20_000, "COL-0216"),
        ("{a: " * 10_000, "COL-0216"),
        ("- " * 10_000, "COL-0216"),
        ("".join("  " * n + "a:\n" for n in range(400)), "COL-0216"),
        ("x" * 300_000, "COL-0214"),
        ("name: " + "9" * 20_000, "COL-0227"),
        ("name: 1" + ":59" * 10_000, "COL-0227"),
        ("name: 0x" + "f" * 20_000, "COL-0227"),
        ("name: cases\n---\nname: other\n", "COL-0218"),
        ("name: 2024-99-99", "COL-0213"),
        ("name: cases\n\tcollector: x", "COL-0213"),
    ],
)
def test_what_no_collection_needs_is_refused_at_once_and_named(file, registry, text, code):
    path = file(text)
    tracemalloc.start()
    said = refused(path, registry)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert said.startswith(code)
    assert path in said


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("name: a\ncollector: x\nname: b\n", "name", (1, 3)),
        ("name: a\nsource:\n  api_key: {0}\n  api_key: {0}2\n", "api_key", (3, 4)),
        ("strategy:\n  retry: {{attempts: 1,\n   attempts: 2}}\n", "attempts", (2, 3)),
        ("list:\n- a: 1\n  b: 2\n  a: 3\n", "a", (2, 4)),
        ("a: 1\n'a': 2\n", "a", (1, 2)),
        ("strategy: {{concurrency: 2, concurrency: 64}}\n", "concurrency", (1, 1)),
    ],
)
def test_a_key_that_stands_there_twice_is_named_with_its_lines(file, registry, text, key, lines):
    said = refused(file(text.format(SECRET)), registry)
    assert f"{key!r} in line {lines[0]} and again in line {lines[1]}" in said


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}"])
def test_a_key_that_is_no_word_is_refused(file, registry, key):
    assert refused(file(f"? {key}\n: 1\nname: cases\n"), registry).startswith("COL-0213")


def test_a_key_may_stand_in_several_maps(file, registry):
    path = file(**{"source.base_url": "http://a.example"})
    assert resolve(path, (), registry).source["base_url"] == "http://a.example"


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("name", "no", "(found yes or no; quote it)"),
        ("name", "2024-01-01", "(found a date; quote it)"),
        ("name", "2024-01-01T10:00:00Z", "(found a date; quote it)"),
        ("name", ".nan", "(found a number; quote it)"),
        ("name", "123", "(found a number; quote it)"),
        ("name", "", "(found nothing)"),
        ("name", "[a]", "(found a list)"),
        ("name", "{a: 1}", "(found further keys)"),
        ("name", "!!set {a}", "(found something else)"),
        ("source", "[a]", "(found a list)"),
        ("strategy.concurrency", "many", "(found 'many')"),
        ("strategy.concurrency", ".nan", "(found nan)"),
        ("strategy.retry.initial", ".nan", "(found nan)"),
        ("strategy.retry.initial", ".inf", "(found inf)"),
        ("strategy.concurrency", "2024-01-01", "(found datetime.date(2024, 1, 1))"),
        ("source.project_id", ".nan", "source.project_id: "),
        ("source.api_key", "12345", "(found a number; quote it)"),
        ("source.username", "on", "(found yes or no; quote it)"),
    ],
)
def test_a_value_of_a_wrong_kind_is_named_with_what_was_found(file, registry, key, text, found):
    said = refused(file(), registry, f"{key}={text}")
    assert f"{key}: " in said
    assert found in said
    assert "12345" not in said


# ---- --set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("strategy.concurrency=2", lambda found: found.strategy.concurrency, 2),
        ("strategy.retry.initial=0.25", lambda found: found.strategy.retry.initial, 0.25),
        ("strategy.on_failure=fail-fast", lambda found: found.strategy.on_failure, "fail-fast"),
        ("source.suite_id=3", lambda found: found.source["suite_id"], 3),
        ("source.suite_id=null", lambda found: found.source["suite_id"], None),
        ("source.suite_id=", lambda found: found.source["suite_id"], None),
        ("source.username='123'", lambda found: found.source["username"], "123"),
        ("source.username=a=b", lambda found: found.source["username"], "a=b"),
        ("source.base_url=http://other:8080/x", lambda found: found.source["base_url"], "http://other:8080/x"),
        ("name=其他", lambda found: found.name, "其他"),
        ("strategy={concurrency: 3}", lambda found: found.strategy.concurrency, 3),
    ],
)
def test_a_key_can_be_set_for_one_time(file, registry, override, get, value):
    path = file()
    plain = resolve(path, (), registry)
    assert get(resolve(path, (override,), registry)) == value
    assert get(resolve("cases", (override,), registry)) == value
    assert resolve("cases", (), registry) == plain
    assert registry.definitions("default") == [plain]


def test_the_last_of_several_settings_of_a_key_holds(file, registry):
    found = resolve(file(), ("strategy.concurrency=2", "strategy.page_size=7", "strategy.concurrency=3"), registry)
    assert (found.strategy.concurrency, found.strategy.page_size) == (3, 7)


@pytest.mark.parametrize("override", ["strategy.concurrency", "", "=2", "concurrency:2"])
def test_a_setting_without_a_key_and_a_value_is_answered_with_an_example(file, registry, override):
    assert "--set strategy.concurrency=2" in refused(file(), registry, override)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("strategy.concurrency=0", "strategy.concurrency: "),
        ("strategy.concurrency=two", "strategy.concurrency: "),
        ("strategy.concurrency=", "strategy.concurrency: "),
        ("strategy=", "strategy: "),
        ("source.base_url=nowhere", "source.base_url: "),
        ("collector=zzz", "there is no collector 'zzz'"),
        ("mode=sometimes", "mode: "),
        ("name=a b", "name: "),
        ("name.first=a", "name"),
        ("strategy.concurrency.x=1", "concurrency"),
        ("strategy..concurrency=1", "unknown key 'strategy"),
        (".=1", "unknown key"),
        ("source." + ".".join("a" * 5_000) + "=1", "unknown key 'source.a'"),
        ("source.x=2024-01-01", "unknown key 'source.x'"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_by_its_key(file, registry, override, named):
    assert named in refused(file(), registry, override)


@pytest.mark.parametrize(
    "value",
    [
        "[1",
        "@x",
        "%x",
        "*x",
        "&",
        "'x",
        "{a",
        "`x`",
        "\t",
        "a: b: c",
        "!!x y",
        "2024-99-99",
        "[" * 5_000,
        "9" * 5_000,
        "&a [*a]",
        "{a: 1, a: 2}",
        "--- a\n--- b",
        "\udcff",
    ],
)
def test_a_setting_whose_value_is_not_yaml_is_named_by_its_key(file, registry, value):
    assert "source.username" in refused(file(), registry, f"source.username={value}")


# ---- secrets -----------------------------------------------------------------------------------------------


def test_a_reference_is_looked_up_but_stays_a_reference(file, registry, monkeypatch):
    monkeypatch.setenv("THE_KEY", SECRET)
    found = resolve(file(**{"source.api_key": "env:THE_KEY"}), (), registry)
    assert found.source["api_key"] == "env:THE_KEY"
    assert registry.definition("default", "cases").source["api_key"] == "env:THE_KEY"


@pytest.mark.parametrize("when", ["file", "name", "set"])
def test_a_reference_to_a_variable_that_is_not_set_is_named_whenever_it_is_used(file, registry, monkeypatch, when):
    monkeypatch.setenv("THE_KEY", SECRET)
    path = file(**{"source.api_key": "env:THE_KEY"})
    resolve(path, (), registry)
    monkeypatch.delenv("THE_KEY")
    if when == "set":
        said = refused(file(), registry, "source.api_key=env:THE_KEY")
    else:
        said = refused(path if when == "file" else "cases", registry)
    assert "source.api_key refers to the environment variable THE_KEY" in said


def test_what_a_reference_means_is_checked_like_any_value_and_not_shown(file, registry, monkeypatch):
    monkeypatch.setenv("ADDRESS", f"ftp://{SECRET}")
    assert "source.base_url: " in refused(file(**{"source.base_url": "env:ADDRESS"}), registry)


@pytest.mark.parametrize(
    "text",
    [
        'api_key: "{}',
        "api_key: '{}",
        "api_key: [{}",
        "api_key: {}: x",
        "api_key: !{} x",
        "api_key: {{{}",
        "{}\tx: [",
    ],
)
def test_a_file_that_is_not_yaml_is_refused_without_showing_its_secrets(file, registry, text):
    path = file("name: cases\ncollector: testrail\nsource:\n  " + text.format(SECRET) + "\n  project_id: 1\n")
    assert f"{path} is not valid YAML" in refused(path, registry)


@pytest.mark.parametrize(
    "override",
    [
        f"source.api_key.x={SECRET}",
        f"source.api_key:{SECRET}",
        f"source.api_key [{SECRET}",
        f"source.api_key=[{SECRET}",
        f"source.api_key=@{SECRET}",
        f"source.api_key=*{SECRET}",
        f"source.api_key={{a: {SECRET}}}",
        f"source.api_kye={SECRET}",
        f"source={SECRET}",
        f"strategy.api_key={SECRET}",
        f"name={SECRET} {SECRET}",
    ],
)
def test_a_setting_that_is_refused_does_not_show_its_value(file, registry, override):
    assert refused(file(), registry, override)


# ---- the command -------------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_and_remembers_nothing(collect, file):
    result = collect("run", file(**{"strategy.concurency": 2}), exit_code=2)
    assert result.stdout == ""
    first, *_ = result.stderr.splitlines()
    assert first.startswith("error COL-02")
    assert "Did you mean concurrency?" in result.stderr
    assert "Traceback" not in result.stderr
    assert "cases" not in [each["name"] for each in collect.json("list")]


def test_the_command_shows_no_secret_when_a_setting_is_no_yaml(collect, file):
    result = collect("run", file(), "--set", f"source.api_key=@{SECRET}", exit_code=2)
    assert SECRET not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
