"""Four addresses, checked before they are used; whatever is wrong with one, its password is not repeated."""

import pytest

from blocks.addresses import EXAMPLES, ROLES, Addresses, addresses, checked, parts_of, shown
from collectors.errors import Misconfigured

SECRET = "S3cret"
RIGHT = {
    "metadata": f"mysql+pymysql://loader:{SECRET}@db.example/collect",
    "documents": f"mongodb://loader:{SECRET}@docs.example/collect?replicaSet=rs0",
    "cache": f"redis://:{SECRET}@cache.example/0",
    "queue": f"amqp://loader:{SECRET}@queue.example/collect",
}
WRONG = [
    ("metadata", f"postgresql://loader:{SECRET}@db/collect", "mysql+pymysql://"),
    ("metadata", f"loader:{SECRET}@db/collect", "no URL"),
    ("metadata", f"mysql://loader:{SECRET}@db", "no database"),
    ("metadata", f"mysql://loader:{SECRET}@db/", "no database"),
    ("metadata", f"mysql://loader:{SECRET}@/collect", "no host"),
    ("metadata", f"mysql://loader:{SECRET}@one,two/collect", "several hosts"),
    ("metadata", f"mysql://loader:{SECRET}@db/collect?tls=true", "option tls"),
    ("documents", f"mongodb://loader:{SECRET}@one:27017,two:x/collect", "port"),
    ("documents", f"mongodb://loader:{SECRET}@one,,two/collect", "no host"),
    ("documents", f"mongodb://loader:{SECRET}@one", "no database"),
    ("cache", f"redis://:{SECRET}@cache/collect", "no database"),
    ("cache", f"redis://:{SECRET}@cache:0/0", "port"),
    ("cache", f"redis://:{SECRET}@cache:65536/0", "port"),
    ("cache", f"unix://:{SECRET}@/run/redis.sock", "redis://"),
    ("queue", f"amqp://loader:{SECRET}@queue", "%2F"),
    ("queue", f"amqp://loader:{SECRET}@queue/a/b", "no database"),
    ("queue", f"http://loader:{SECRET}@queue/collect", "amqp://"),
]  # fmt: skip
# A password with characters that mean something else in a URL, written as they are.
UNQUOTED = [
    f"amqp://loader:{SECRET}/x@queue/collect",
    f"amqp://loader:12/{SECRET}@queue",
    f"amqp://loader:{SECRET}#x@queue/collect",
    f"amqp://loader:{SECRET}?x@queue/collect",
    f"amqp://loader:12#{SECRET}@queue/collect",
    f"amqp://loader:{SECRET}\n@queue/collect",
    f"amqp://loader:{SECRET}[@queue/collect",
]


def refused(role, url):
    with pytest.raises(Misconfigured) as raised:
        checked(role, url)
    assert SECRET not in f"{raised.value}{raised.value!r}"
    assert EXAMPLES[role] in raised.value.remedy
    return raised.value


@pytest.mark.parametrize("role", ROLES)
def test_an_address_that_is_right_is_taken_as_it_is(role):
    assert checked(role, RIGHT[role]) == RIGHT[role]
    assert checked(role, EXAMPLES[role]) == EXAMPLES[role]


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"])
def test_mysql_is_spoken_to_by_its_one_driver_whatever_it_is_called(scheme):
    assert checked("metadata", f"{scheme}://user@host/data?charset=utf8mb4") == (
        "mysql+pymysql://user@host/data?charset=utf8mb4"
    )


@pytest.mark.parametrize(("role", "url", "why"), WRONG)
def test_one_that_is_wrong_is_refused_with_the_reason(role, url, why):
    error = refused(role, url)
    assert error.code == "COL-0691"
    assert role in error.what and why in error.what


@pytest.mark.parametrize("url", UNQUOTED)
def test_a_password_that_is_not_quoted_is_refused_and_not_shown_as_a_part_of_something_else(url):
    refused("queue", url)


def test_a_quoted_password_and_the_virtual_host_of_that_name_are_right():
    url = "amqp://loader:a%40b%2Fc%3Ad@queue/%2F"
    assert checked("queue", url) == url
    assert (parts_of(url).user, parts_of(url).password) == ("loader", "a@b/c:d")


def test_a_replica_set_may_be_named_by_several_hosts():
    url = f"mongodb://loader:{SECRET}@one:27017,[::1]:27018,three/collect?replicaSet=rs0"
    assert checked("documents", url) == url
    assert parts_of(url).hosts == ("one", "::1", "three")


@pytest.mark.parametrize("role", ROLES)
def test_what_people_see_has_no_password(role):
    url = RIGHT[role]
    said = shown(url + ("&" if "?" in url else "?") + f"ssl_key_password={SECRET}")
    assert SECRET not in said
    assert ":***@" in said and ".example/" in said


def test_what_has_no_password_is_shown_as_it_is():
    assert shown("mongodb://one:1,two:2/collect") == "mongodb://one:1,two:2/collect"
    assert shown("mysql+pymysql://loader@host/data") == "mysql+pymysql://loader@host/data"


def test_the_secrets_are_in_no_representation():
    where = addresses(RIGHT)
    assert where == Addresses(**RIGHT)
    assert SECRET not in repr((where, parts_of(RIGHT["cache"])))


@pytest.mark.parametrize("role", ROLES)
def test_three_addresses_are_refused_and_the_fourth_is_named(role):
    with pytest.raises(Misconfigured) as raised:
        addresses(RIGHT | {role: ""})
    assert raised.value.code == "COL-0690"
    assert raised.value.what.endswith(f"missing: {role}")
