"""Saying where the stores are, and hearing what is wrong with them; no password is ever shown."""

import json
import stat
import tomllib
from urllib.parse import urlsplit

import pytest

from blocks.addresses import ROLES

FOUR = (
    "mysql://user:secret-one@127.0.0.1:1/database",
    "mongodb://user:secret-two@127.0.0.1:1/database?replicaSet=rs0",
    "redis://:secret-three@127.0.0.1:1/0",
    "amqp://user:secret-four@127.0.0.1:1/vhost",
)
SECRETS = ("secret-one", "secret-two", "secret-three", "secret-four")


@pytest.fixture
def alone(tmp_path, new_collect):
    """The command without a Prefect server."""
    return new_collect(tmp_path / "home")


def named(urls):
    """As the environment names them."""
    return {f"COLLECT_{role.upper()}": url for role, url in zip(ROLES, urls, strict=True)}


def said(process):
    assert not [secret for secret in SECRETS if secret in process.stdout + process.stderr]
    return process.stdout + process.stderr


def test_four_addresses_are_kept_for_their_owner_only(alone):
    said(alone("storage", "set", *FOUR))
    file = alone.home / "settings"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = tomllib.loads(file.read_text())
    assert kept["metadata"].startswith("mysql+pymysql://") and kept["queue"] == FOUR[3]
    key = kept["signing_keys"]
    alone("storage", "set", *FOUR)
    assert tomllib.loads(file.read_text())["signing_keys"] == key, "what waits in the queue stays readable"
    assert {each["origin"] for each in json.loads(said(alone("storage", "show", "--json")))} == {"file"}


def test_the_environment_goes_before_the_file(alone):
    alone("storage", "set", *FOUR)
    roles = ("METADATA", "DOCUMENTS", "CACHE", "QUEUE")
    alone.environment |= {
        f"COLLECT_{role}": url.replace("127.0.0.1", "other") for role, url in zip(roles, FOUR, strict=True)
    }
    shown = alone.json("storage", "show")
    assert {each["origin"] for each in shown} == {"environment"}
    assert all("other" in each["address"] for each in shown)


def test_what_is_away_is_said_in_a_line_each(alone):
    alone("storage", "set", *FOUR)
    process = alone("storage", "check", "--json", exit_code=1)
    said(process)
    wrong = {each["role"]: each["wrong"] for each in json.loads(process.stdout)}
    codes = {"metadata": "COL-0621", "documents": "COL-0640", "cache": "COL-0660", "queue": "COL-067"}
    assert all(wrong[role].startswith(code) for role, code in codes.items()), wrong
    assert all("\n" not in each for each in wrong.values())


@pytest.mark.parametrize(
    ("position", "url"),
    [
        (0, "postgresql://user:secret-one@host/database"),
        (0, "mysql://user:secret-one@host"),
        (1, "mongodb://user:secret-two@host/"),
        (2, "redis://:secret-three@host/name"),
        (3, "amqp://user:secret-four@host:port/vhost"),
        (3, "secret-four"),
    ],
)
def test_an_address_that_cannot_be_used_changes_nothing(alone, position, url):
    given = [*FOUR[:position], url, *FOUR[position + 1 :]]
    assert "COL-0691" in said(alone("storage", "set", *given, exit_code=2))
    assert not (alone.home / "settings").exists()


def test_three_addresses_are_not_enough(alone):
    assert "queue" in said(alone("storage", "set", *FOUR[:3], exit_code=2))
    alone.environment["COLLECT_METADATA"] = FOUR[0]
    assert "COL-0690" in said(alone("status", exit_code=2))


def test_the_embedded_stores_come_back(alone):
    alone("storage", "set", *FOUR)
    alone("storage", "set", "--embedded")
    assert {each["origin"] for each in alone.json("storage", "show")} == {"embedded"}
    assert alone.json("status") == []
    assert "bring themselves up to date" in alone("storage", "migrate").stderr


def test_the_production_profile_names_all_it_refuses(alone):
    elsewhere = [
        "mysql://root@db.example/database",
        "mongodb://docs.example/database",
        "redis://cache.example/0",
        "amqp://guest:guest@queue.example/vhost",
    ]
    alone.environment |= named(elsewhere)
    alone.environment["COLLECT_PROFILE"] = "production"
    text = said(alone("status", exit_code=2))
    assert "COL-0692" in text and "COLLECT_SIGNING_KEYS" in text
    for role in ROLES:
        assert f"{role}: no password" in text
        assert f"{role}: plain text" in text


def test_a_file_that_is_damaged_is_named(alone):
    alone.home.mkdir()
    (alone.home / "settings").write_text("metadata = ")
    assert "COL-0693" in said(alone("status", exit_code=2))


def test_blocks_say_where_the_stores_are_where_nothing_else_does(
    collect, tmp_path, new_collect, metadata_url, documents_url, cache_url, queue_url
):
    """Written where the stores are set; read in a folder that knows nothing but the Prefect server."""
    collect("storage", "set", metadata_url, documents_url, cache_url, queue_url)
    assert "COL-0626" in collect("storage", "check", exit_code=1).stdout
    collect("storage", "migrate")
    checked = collect.json("storage", "check")
    assert [each["wrong"] for each in checked] == [None] * 4
    elsewhere = new_collect(
        tmp_path / "elsewhere", **{k: v for k, v in collect.environment.items() if k.startswith("PREFECT_")}
    )
    shown = elsewhere.json("storage", "show")
    assert {each["origin"] for each in shown} == {"block"}
    assert urlsplit(shown[0]["address"]).path == urlsplit(metadata_url).path
    assert elsewhere.json("status") == []
