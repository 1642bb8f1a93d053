"""`collect storage`: what is set is kept for its owner, mirrored into Prefect, shown without secrets, and checked."""

import asyncio
import json
import subprocess
import sys
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import aio_pika
import pymongo
import pytest

from blocks import settings_file
from blocks.addresses import ROLES
from blocks.settings import Settings
from deployments.dev_servers.kinds import MongoDb

STACK = (
    "mysql://loader:S3cret@127.0.0.1:9/collect",
    "mongodb://loader:S3cret@127.0.0.1:9/collect?replicaSet=rs0",
    "redis://:S3cret@127.0.0.1:9/0",
    "amqp://loader:S3cret@127.0.0.1:9/collect",
)

THERE = """
from blocks.settings import Settings
from deployments.dev_servers.kinds import MongoDb
from blocks.storage import CollectCache, CollectQueue

settings, cache = Settings.load(), CollectCache.load("collect")
print(settings.signing_keys, settings.addresses.cache, cache.get_client().get_connection_kwargs()["port"])
print(type(cache.open()).__name__, type(CollectQueue.load("collect").open()).__name__)
"""


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    for name in (*ROLES, "signing_keys", "profile"):
        monkeypatch.delenv(f"COLLECT_{name.upper()}", raising=False)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_four_addresses_are_kept_for_their_owner_and_the_queue_makes_a_key(typed, home):
    said = typed("storage", "set", *STACK)
    kept = settings_file.read(home)
    assert kept["metadata"] == STACK[0].replace("mysql://", "mysql+pymysql://")
    assert [kept[role] for role in ROLES[1:]] == [*STACK[1:]]
    assert (home / "settings").stat().st_mode & 0o777 == 0o600
    (key,) = Settings.load().signing_keys.values()
    assert len(key) == 32 and key.hex() not in said.stdout + said.stderr
    assert "S3cret" not in said.stdout + said.stderr
    assert "loader:***@127.0.0.1:9/collect" in said.stderr
    assert "blocks are not written" in said.stderr and "collect storage mirror" in said.stderr
    assert "collect storage migrate" in said.stderr


def test_two_folders_that_name_the_same_queue_sign_alike(typed, home, monkeypatch):
    typed("storage", "set", *STACK)
    first = Settings.load().signing_keys
    monkeypatch.setenv("COLLECT_HOME", str(home.with_name("other")))
    typed("storage", "set", *STACK)
    assert Settings.load().signing_keys == first


def test_setting_them_again_keeps_the_keys_and_the_profile(typed, home):
    home.mkdir()
    settings_file.write(home, {"signing_keys": "a:1,b:2", "profile": "production"})
    typed("storage", "set", *STACK)
    kept = settings_file.read(home)
    assert (kept["signing_keys"], kept["profile"]) == ("a:1,b:2", "production")


def test_nothing_is_kept_of_four_addresses_of_which_one_is_wrong(typed, home):
    typed("storage", "set", *STACK)
    said = typed("storage", "set", *STACK[:3], "amqp://loader:0ther@127.0.0.1", exit_code=2)
    assert "COL-0691" in said.stderr and "0ther" not in said.stderr
    assert settings_file.read(home)["queue"] == STACK[3]
    said = typed("storage", "set", *STACK[:3], exit_code=2)
    assert "COL-0690" in said.stderr and "queue" in said.stderr


def test_embedded_goes_back_and_the_keys_stay(typed, home):
    typed("storage", "set", *STACK)
    settings_file.write(home, settings_file.read(home) | {"signing_keys": "k1:one"})
    assert str(home) in typed("storage", "set", "--embedded").stderr
    assert settings_file.read(home) == {"signing_keys": "k1:one"}
    shown = typed("storage", "show", "--json").json
    assert [each["origin"] for each in shown] == ["embedded"] * 4
    assert shown[0]["address"] == str(home / "collect.db")


def test_data_that_is_here_already_is_said_to_stay_here(typed, home):
    assert "not copied" not in typed("storage", "set", *STACK).stderr
    (home / "collect.db").touch()
    assert "not copied" in typed("storage", "set", *STACK).stderr


def test_it_is_said_when_the_environment_speaks_louder(typed, monkeypatch):
    for role, address in zip(ROLES, STACK, strict=True):
        monkeypatch.setenv(f"COLLECT_{role.upper()}", address)
    assert "COLLECT_METADATA" in typed("storage", "set", *STACK).stderr
    assert "COLLECT_METADATA" in typed("storage", "set", "--embedded").stderr


def test_show_says_by_whom_and_hides_what_is_secret(typed, monkeypatch):
    typed("storage", "set", *STACK)
    said = typed("storage", "show", "--json")
    assert [each["role"] for each in said.json] == [*ROLES]
    assert {each["origin"] for each in said.json} == {"file"}
    assert "profile: development" in said.stderr and "signing key: url" in said.stderr
    for role, address in zip(ROLES, STACK, strict=True):
        monkeypatch.setenv(f"COLLECT_{role.upper()}", address)
    again = typed("storage", "show")
    assert "environment" in again.stdout
    assert "S3cret" not in said.stdout + said.stderr + again.stdout + again.stderr


def test_check_and_migrate_have_nothing_to_do_on_the_embedded_stores(typed, home):
    assert typed("storage", "check", "--json").json == []
    assert typed("storage", "migrate", "--json").json == {"before": None, "after": None}
    assert "collect doctor" in typed("storage", "check").stderr
    assert not home.exists()


def test_migrate_does_not_touch_what_the_production_profile_refuses(typed, monkeypatch):
    typed("storage", "set", "mysql://root:root@127.0.0.1:9/collect", *STACK[1:])
    monkeypatch.setenv("COLLECT_PROFILE", "production")
    said = typed("storage", "migrate", exit_code=2)
    assert "COL-0692" in said.stderr and "metadata" in said.stderr


def test_reading_commands_say_what_the_production_profile_refuses(typed, monkeypatch):
    typed("storage", "set", *STACK[:3], "amqp://guest:guest@127.0.0.1:9/collect")
    monkeypatch.setenv("COLLECT_PROFILE", "production")
    said = typed("status", exit_code=2)
    assert "COL-0692" in said.stderr and "queue" in said.stderr and "cache" not in said.stderr


# ---- with a Prefect server -----------------------------------------------------------------------------------


def ask(api, path, method="POST", body=b"{}"):
    request = Request(f"{api}/{path}", body, {"Content-Type": "application/json"}, method=method)
    with urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def test_what_is_set_here_is_obeyed_in_an_empty_folder_that_knows_prefect_alone(tmp_path, new_collect, own_prefect):
    here = new_collect(tmp_path / "here", **own_prefect)
    said = here("storage", "set", *STACK).stderr
    assert "blocks of Prefect at" in said and "S3cret" not in said
    there = new_collect(tmp_path / "there", **own_prefect)
    shown = there.json("storage", "show")
    assert [each["origin"] for each in shown] == ["block"] * 4
    assert [each["address"] for each in shown] == [each["address"] for each in here.json("storage", "show")]
    settings_file.write(here.home, settings_file.read(here.home) | {"signing_keys": "k1:two"})
    here("storage", "mirror")
    done = subprocess.run([sys.executable, "-c", THERE], env=there.environment, capture_output=True, text=True)
    assert done.stdout.split() == ["{'k1':", "b'two'}", STACK[2], "9", "RedisCache", "RabbitQueue"], done.stderr
    seen = ask(own_prefect["PREFECT_API_URL"], "block_documents/filter")
    assert "collect-queue" in seen and "S3cret" not in seen
    there("storage", "set", "--embedded")
    assert {each["origin"] for each in there.json("storage", "show")} == {"embedded"}


def test_a_folder_that_knows_prefect_alone_works_on_the_servers(
    collect, tmp_path, new_collect, own_prefect, metadata_url, documents_url, cache_url, queue_url
):
    collect("storage", "set", metadata_url, documents_url, cache_url, queue_url)
    collect("storage", "migrate")
    there = new_collect(tmp_path / "there", **own_prefect)
    assert [each["wrong"] for each in there.json("storage", "check")] == [None] * 4
    assert there.json("status") == []
    assert not there.home.exists()


# ---- with the servers ----------------------------------------------------------------------------------------


@pytest.fixture
def outcomes(typed):
    """Sets addresses and checks them: what is wrong with each role."""

    def checked(*addresses, exit_code=1):
        typed("storage", "set", *addresses)
        found = typed("storage", "check", "--json", exit_code=exit_code).json
        assert [each["role"] for each in found] == [*ROLES]
        return {each["role"]: each for each in found}

    return checked


def test_four_servers_that_are_well_are_named_with_their_versions(
    typed, outcomes, metadata_url, documents_url, cache_url, queue_url
):
    stack = (metadata_url, documents_url, cache_url, queue_url)
    found = outcomes(*stack)
    assert "COL-0626" in found["metadata"]["wrong"] and "collect storage migrate" in found["metadata"]["wrong"]
    assert [found[role]["wrong"] for role in ROLES[1:]] == [None] * 3
    migrated = typed("storage", "migrate", "--json").json
    assert migrated["before"] is None and migrated["after"]
    assert typed("storage", "migrate", "--json").json == {"before": migrated["after"], "after": migrated["after"]}
    found = outcomes(*stack, exit_code=0)
    assert all(each["version"] for each in found.values())
    assert "replica set rs0" in found["documents"]["version"]
    assert len(typed("storage", "check").stdout.splitlines()) == 4


def with_password(url, password):
    parts = urlsplit(url)
    user = parts.username or ("" if parts.scheme == "redis" else "nobody")
    return parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()


def test_wrong_passwords_are_found_side_by_side_and_not_repeated(
    typed, outcomes, metadata_url, documents_url, cache_url, queue_url
):
    wrong = [with_password(url, "Wr0ng") for url in (metadata_url, documents_url, cache_url, queue_url)]
    found = outcomes(*wrong)
    codes = {"metadata": "COL-0622", "documents": "COL-0642", "cache": "COL-066", "queue": "COL-0673"}
    for role, code in codes.items():
        assert found[role]["wrong"].startswith(code), found[role]
        assert found[role]["version"] is None
    assert "Wr0ng" not in json.dumps(found)


class Standalone(MongoDb):
    """No replica set."""

    def command(self):
        command = super().command()
        return [each for each in command if each not in ("--replSet", "rs0")]

    def greet(self):
        with pymongo.MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")


def test_a_mongodb_that_is_no_replica_set_is_found(outcomes, own_server):
    url = own_server(Standalone).server.url.partition("?")[0]
    assert outcomes(STACK[0], url, *STACK[2:])["documents"]["wrong"].startswith("COL-0641")


def test_a_virtual_host_without_rights_or_not_there_is_found(outcomes, ctl, queue_url):
    ctl("clear_permissions", "-p", urlsplit(queue_url).path[1:], "collect")
    for url in (queue_url, queue_url + "-not-there"):
        assert outcomes(*STACK[:3], url)["queue"]["wrong"].startswith("COL-0674")


def test_a_user_who_may_make_no_queues_is_found(outcomes, ctl, queue_url):
    ctl("set_permissions", "-p", urlsplit(queue_url).path[1:], "collect", "^$", ".*", ".*")
    assert outcomes(*STACK[:3], queue_url)["queue"]["wrong"].startswith("COL-0675")


def test_a_queue_that_was_made_in_another_way_is_found(outcomes, queue_url):
    async def made():
        async with await aio_pika.connect(queue_url) as connection:
            await (await connection.channel()).declare_queue("collect", durable=True)

    asyncio.run(made())
    assert outcomes(*STACK[:3], queue_url)["queue"]["wrong"].startswith("COL-0676")


def test_servers_that_are_not_there_are_found_within_seconds(outcomes):
    found = outcomes(*STACK)
    codes = {"metadata": "COL-0621", "documents": "COL-0640", "cache": "COL-066", "queue": "COL-0670"}
    for role, code in codes.items():
        assert found[role]["wrong"].startswith(code), found[role]
    assert "S3cret" not in json.dumps(found)
