"""In production there is no password that everybody knows, and no plain text to another host."""

from dataclasses import replace
from pathlib import Path

import pytest

from blocks.addresses import Addresses
from blocks.production import refusals, refuse_unsafe
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.errors import Misconfigured

SAFE = Addresses(
    metadata="mysql+pymysql://loader:Pa55@db.example/collect?ssl_ca=ca.pem",
    documents="mongodb://loader:Pa55@one.example,two.example/collect?replicaSet=rs0&tls=true&tlsCAFile=ca.pem",
    cache="rediss://:Pa55@cache.example/0?ssl_ca_certs=ca.pem",
    queue="amqps://loader:Pa55@queue.example/collect?cafile=ca.pem",
)
KEYS = {"k1": b"x" * 32}


def settings(where=SAFE, keys=KEYS, profile="production", home=Path("/nowhere")):
    return Settings(home, None, where, keys, "file", profile)


def faults(**changed):
    return list(refusals(settings(replace(SAFE, **changed))))


def test_four_safe_addresses_are_let_through():
    assert faults() == []
    refuse_unsafe(settings())


@pytest.mark.parametrize(
    ("role", "url"),
    [
        ("metadata", "mysql+pymysql://root@127.0.0.1/collect"),
        ("metadata", "mysql+pymysql://root:@127.0.0.1/collect"),
        ("metadata", "mysql+pymysql://root:root@127.0.0.1/collect"),
        ("metadata", "mysql+pymysql://loader:change-me@127.0.0.1/collect"),
        ("documents", "mongodb://127.0.0.1/collect"),
        ("documents", "mongodb://admin:admin@127.0.0.1/collect"),
        ("cache", "redis://127.0.0.1/0"),
        ("queue", "amqp://guest:guest@127.0.0.1/collect"),
        ("queue", "amqp://127.0.0.1/collect"),
    ],
)
def test_no_password_and_one_that_everybody_knows_are_refused(role, url):
    ((whose, reason),) = faults(**{role: url})
    assert whose == role and "password" in reason


@pytest.mark.parametrize(
    ("role", "url"),
    [
        ("metadata", "mysql+pymysql://loader:Pa55@db.example/collect"),
        ("metadata", "mysql+pymysql://loader:Pa55@db.example/collect?ssl_cert=mine.pem"),
        ("documents", "mongodb://loader:Pa55@docs.example/collect"),
        ("documents", "mongodb://loader:Pa55@docs.example/collect?tls=false"),
        ("documents", "mongodb://loader:Pa55@127.0.0.1,docs.example/collect"),
        ("cache", "redis://:Pa55@cache.example/0"),
        ("queue", "amqp://loader:Pa55@queue.example/collect"),
        ("queue", "amqp://loader:Pa55@127.0.0.1.example/collect"),
    ],
)
def test_plain_text_to_another_host_is_refused(role, url):
    ((whose, reason),) = faults(**{role: url})
    assert whose == role and "plain text to" in reason and "FILE" in reason


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_plain_text_within_the_machine_is_nobodys_to_read(host):
    assert faults(queue=f"amqp://loader:Pa55@{host}/collect", cache=f"redis://:Pa55@{host}/0") == []


@pytest.mark.parametrize(
    ("role", "option"),
    [
        ("metadata", "ssl_check_hostname=false"),
        ("documents", "tlsInsecure=true"),
        ("documents", "tlsAllowInvalidCertificates=true"),
        ("documents", "tlsAllowInvalidHostnames=true"),
        ("cache", "ssl_cert_reqs=none"),
        ("cache", "ssl_check_hostname=False"),
        ("queue", "no_verify_ssl=1"),
    ],
)
def test_a_certificate_that_is_not_checked_is_refused(role, option):
    ((whose, reason),) = faults(**{role: f"{SAFE[role]}&{option}"})
    assert whose == role and option.partition("=")[0].lower() in reason


def test_a_client_certificate_stands_for_a_password():
    assert faults(cache="rediss://cache.example/0?ssl_certfile=mine.pem") == []


@pytest.mark.parametrize("keys", [{"url": b"x" * 32}, {"k1": b"short"}, {"k1": b"x" * 32, "k2": b"short"}])
def test_a_key_that_is_derived_or_short_signs_nothing(keys):
    ((whose, reason),) = refusals(settings(keys=keys))
    assert whose == "queue" and "key" in reason


def test_all_of_it_is_said_at_once_and_no_password_with_it(tmp_path):
    unsafe = replace(SAFE, metadata="mysql+pymysql://root@db/collect", cache="redis://:hidden-one@cache.example/0")
    with (
        pytest.raises(Misconfigured) as raised,
        open_storage(settings(unsafe, {"url": b"x"}, home=tmp_path)),
    ):
        pass
    error = raised.value
    assert error.code == "COL-0692"
    assert error.what.count("metadata:") == 2
    assert "cache:" in error.what and "queue:" in error.what and "documents:" not in error.what
    assert "hidden-one" not in str(error)


def test_the_development_profile_and_the_embedded_stores_refuse_nothing():
    unsafe = replace(SAFE, queue="amqp://guest:guest@queue.example/collect")
    refuse_unsafe(settings(unsafe, {"url": b"x"}, "development"))
    refuse_unsafe(settings(None, {}))
