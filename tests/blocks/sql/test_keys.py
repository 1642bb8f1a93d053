"""Keys: shown once, kept as a hash, ending by themselves or when they are revoked."""

import pytest

from blocks.sql.keys import Keys, Role
from collectors.errors import Misconfigured

DAY = 24 * 3600 * 1_000_000


@pytest.fixture
def keys(database):
    return Keys(database)


def test_a_key_says_whose_it_is_and_what_it_may_do(keys):
    key, key_id = keys.create("acme", Role.OPERATOR, "nightly", 30)
    assert keys.caller(key) == (key_id, "acme", Role.OPERATOR)


def test_nothing_that_is_kept_lets_anybody_in(keys, database, dump):
    key, key_id = keys.create("default", Role.ADMIN, "", 1)
    secret = key.split("_", 2)[2]
    kept = repr(dump(database)["api_key"])
    assert key_id in kept
    assert secret not in kept
    (listed,) = keys.all()
    assert "secret_hash" not in listed


@pytest.mark.parametrize(
    "spoil", [str.upper, lambda key: key[:-1], lambda key: key + "x", lambda _: "", lambda _: "é\0'"]
)
def test_another_key_is_nobodys(keys, spoil):
    key, _ = keys.create("default", Role.ADMIN, "", 1)
    assert keys.caller(spoil(key)) is None


def test_a_key_of_one_id_with_the_secret_of_another_is_nobodys(keys):
    (one, _), (other, _) = (keys.create("default", Role.ADMIN, "", 1) for _ in range(2))
    assert keys.caller("_".join([*one.split("_")[:2], other.split("_", 2)[2]])) is None


def test_a_key_ends_when_it_is_revoked_or_its_time_is_over(keys, database, alter):
    (revoked, key_id), (over, _) = (keys.create("default", Role.VIEWER, "", 1) for _ in range(2))
    keys.revoke(key_id)
    assert keys.caller(revoked) is None
    whole, _ = keys.create("other", Role.VIEWER, "", 1)
    keys.revoke(whole)
    assert keys.caller(whole) is None
    assert keys.caller(over)
    alter(database, "UPDATE api_key SET expires_at = expires_at - ?", 2 * DAY)
    assert keys.caller(over) is None
    assert [bool(each["valid"]) for each in keys.all("default")] == [False, False]
    assert keys.all("acme") == []


def test_a_keys_own_name_fits(keys):
    keys.create("default", Role.VIEWER, "x" * 100, 1)
    with pytest.raises(Misconfigured, match="COL-0269"):
        keys.create("default", Role.VIEWER, "x" * 101, 1)


@pytest.mark.parametrize("tenant", ["", " ", "a/b", "a:b", "x" * 65, "a\n"])
def test_a_tenants_name_is_one_word(keys, tenant):
    with pytest.raises(Misconfigured, match="COL-0269"):
        keys.create(tenant, Role.VIEWER, "", 1)


def test_a_key_that_is_not_there_cannot_be_revoked(keys):
    with pytest.raises(Misconfigured, match="COL-0266"):
        keys.revoke("nothing")
