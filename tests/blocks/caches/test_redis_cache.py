"""Redis as a cache: one load for all who miss, nothing stale however it fails, and about a second lost at most."""

import re
import socketserver
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from blocks.caches import breaker, redis_cache, scripts
from blocks.caches.redis_cache import RedisCache
from blocks.caches.scripts import ERA, Scripts
from collectors.errors import Misconfigured, Unreachable
from collectors.interfaces import AN_HOUR
from collectors.testing.cache_contract import CacheContract, Origin

PASSWORD = "s3cret-w0rd"
PATIENCE = 20.0


class TestRedisCache(CacheContract):
    @pytest.fixture(autouse=True)
    def _where(self, cache_url):
        self.url = cache_url

    def opened(self):
        return closing(RedisCache(self.url))


@pytest.fixture
def cache(cache_url, connected):
    return connected(cache_url)


def becomes(true):
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.001)


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def kept(cache, **values):
    """What of these keys a reader is answered that loads nothing."""
    return dict(cache.read(list(values), lambda _: {}))


def frozen(server):
    server.freeze()


def killed(server):
    server.kill()


# ---- one load for all --------------------------------------------------------------------------------------


def test_twenty_who_miss_at_one_time_cause_one_load_also_when_redis_knows_nothing(
    cache_url, client, connected, monkeypatch
):
    monkeypatch.setattr(redis_cache, "PAUSES", [0.01] * 1_000)
    client.script_flush()
    caches, origin, asking = [connected(cache_url), connected(cache_url)], Origin(a=b"1", b=b"2"), []

    def load(keys):
        becomes(lambda: len(asking) == 20)
        return origin.load(keys)

    def read(number):
        asking.append(number)
        return dict(caches[number % 2].read(["a", "b"], load))

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(read, range(20))) == [{"a": b"1", "b": b"2"}] * 20
    assert origin.loads == Counter(a=1, b=1)


def test_two_who_load_what_the_other_waits_for_do_not_wait_for_each_other(cache_url, connected):
    origin, both = Origin(a=b"1", b=b"2", c=b"3"), threading.Barrier(2)

    def read(keys):
        def load(missing):
            both.wait(PATIENCE)
            return origin.load(missing)

        with closing(RedisCache(cache_url)) as cache:
            cache.read(["c"], origin.load)
            return dict(cache.read(keys, load))

    with within(1.0), ThreadPoolExecutor(2) as threads:
        one, other = threads.submit(read, ["a", "c"]), threads.submit(read, ["b", "c"])
        assert (one.result(), other.result()) == ({"a": b"1", "c": b"3"}, {"b": b"2", "c": b"3"})


def test_a_loader_that_died_is_waited_for_until_its_token_ends(cache, client, monkeypatch):
    monkeypatch.setattr(scripts, "SECONDS_TO_LOAD", 0.1)
    assert Scripts(client).ask(["a"], "of the dead").missing == ["a"]
    assert dict(cache.read(["a"], Origin(a=b"1").load)) == {"a": b"1"}
    assert kept(cache, a=b"1") == {"a": b"1"}


def test_one_that_takes_long_is_waited_for_about_a_second_and_then_loaded_beside(cache, client):
    Scripts(client).ask(["a"], "of the slow")
    with within(2.0):
        assert dict(cache.read(["a", "b"], Origin(a=b"1", b=b"2").load)) == {"a": b"1", "b": b"2"}
    assert Scripts(client).ask(["a", "b"], "mine") == ({"b": b"2"}, [], ["a"])


def test_what_was_loaded_after_the_token_ended_is_not_kept(cache, client, monkeypatch):
    monkeypatch.setattr(scripts, "SECONDS_TO_LOAD", 0.05)

    def slow(keys):
        becomes(lambda: not client.exists("a"))
        assert dict(cache.read(["a"], Origin(a=b"new").load)) == {"a": b"new"}
        return dict.fromkeys(keys, b"old")

    assert dict(cache.read(["a"], slow)) == {"a": b"old"}
    assert kept(cache, a=b"new") == {"a": b"new"}


# ---- what is kept ------------------------------------------------------------------------------------------


def test_what_was_read_once_is_answered_without_loading(cache_url, connected):
    connected(cache_url).read(["a", "b"], Origin(a=b"1").load)
    origin = Origin(b=b"2")
    assert dict(connected(cache_url).read(["a", "b"], origin.load)) == {"a": b"1", "b": b"2"}
    assert origin.loads == Counter(b=1)


def test_what_is_kept_can_be_peeked_at_and_not_what_is_loaded(cache, client):
    assert dict(cache.peek(["a", "b"])) == {}
    cache.read(["a"], Origin(a=b"1").load)
    Scripts(client).ask(["b"], "of somebody")
    assert dict(cache.peek(["a", "b", "c"])) == {"a": b"1"}
    client.set(ERA, "another")
    assert dict(cache.peek(["a"])) == {}


def test_everything_ends_at_different_times_within_the_hour(cache, client):
    values = {f"key {number}": b"1" for number in range(100)}
    cache.read(list(values), Origin(**values).load)
    cache.generation("default")
    lives = {key: client.pttl(key) for key in client.scan_iter() if key != ERA.encode()}
    assert len(lives) == 101
    assert all(0.89 * AN_HOUR * 1000 < life <= AN_HOUR * 1000 for life in lives.values())
    assert len(set(lives.values())) > 50


def test_a_generation_changes_with_each_drop_of_its_tenant_and_of_no_other(cache, cache_url, connected):
    mine, other = cache.generation("mine"), cache.generation("other")
    assert connected(cache_url).generation("mine") == mine != other
    cache.drop("mine", ["mine:a"])
    assert connected(cache_url).generation("mine") != mine
    assert cache.generation("other") == other
    mine = cache.generation("mine")
    cache.drop("mine", [])
    assert cache.generation("mine") == mine


def test_what_others_wrote_under_our_keys_is_not_believed(cache, client):
    client.hset("a", "field", "x")
    client.set("b", "x")
    for _ in range(2):
        assert dict(cache.read(["a", "b"], Origin(a=b"1", b=b"2").load)) == {"a": b"1", "b": b"2"}
    assert kept(cache, a=1, b=2) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("forget", [["FLUSHALL"], ["SCRIPT", "FLUSH"], ["DEL", ERA]], ids=" ".join)
def test_a_redis_that_forgot_is_filled_again(cache, client, forget):
    cache.read(["a"], Origin(a=b"old").load)
    client.execute_command(*forget)
    for _ in range(2):
        assert dict(cache.read(["a"], Origin(a=b"new").load)) == {"a": b"new"}


def test_what_redis_forgets_while_it_is_loaded_is_answered_and_not_kept(cache, client):
    def load(keys):
        client.flushall()
        client.script_flush()
        return dict.fromkeys(keys, b"1")

    assert dict(cache.read(["a"], load)) == {"a": b"1"}
    assert kept(cache, a=1) == {}


# ---- a Redis that fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", [frozen, killed])
def test_reading_goes_on_without_redis_and_says_so_once(started, connected, caplog, fail):
    server = started()
    cache, origin = connected(server.url), Origin(a=b"1")
    cache.read(["a"], origin.load)
    fail(server)
    with within(1.5):
        assert dict(cache.read(["a"], origin.load)) == {"a": b"1"}
    with within(0.2):
        assert dict(cache.read(["a"], origin.load)) == {"a": b"1"}
        assert cache.generation("default") != cache.generation("default")
    (warning,) = caplog.messages
    assert f"Redis at 127.0.0.1:{server.port} does not answer" in warning


@pytest.mark.parametrize("fail", [frozen, killed])
def test_many_readers_lose_no_more_than_a_second_together(started, connected, caplog, fail):
    server = started()
    cache = connected(server.url)
    fail(server)
    with within(2.0), ThreadPoolExecutor(20) as threads:
        found = list(threads.map(lambda _: dict(cache.read(["a"], Origin(a=b"1").load)), range(20)))
    assert found == [{"a": b"1"}] * 20
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("fail", [frozen, killed])
def test_dropping_is_refused_within_about_a_second(started, connected, fail):
    server = started()
    cache = connected(server.url)
    cache.drop("default", ["a"])
    fail(server)
    for _ in range(2):
        with within(1.5), pytest.raises(Unreachable) as refused:
            cache.drop("default", ["a"])
        assert refused.value.code == "COL-0660"
    cache.drop("default", [])


@pytest.mark.parametrize("fail", [frozen, killed])
def test_what_was_loaded_is_answered_when_redis_fails_meanwhile(started, connected, fail):
    server = started()

    def load(keys):
        fail(server)
        return dict.fromkeys(keys, b"1")

    with within(2.0):
        assert dict(connected(server.url).read(["a"], load)) == {"a": b"1"}


def test_a_redis_that_answers_again_is_used_again_and_told_of_when_it_fails_again(
    started, connected, caplog, monkeypatch
):
    monkeypatch.setattr(breaker, "SECONDS_LEFT_ALONE", 0.01)
    server = started()
    cache = connected(server.url)
    for _ in range(2):
        caplog.clear()
        server.kill()
        for _ in range(3):
            cache.read(["a"], Origin(a=b"1").load)
            becomes(lambda: not cache._breaker.is_open)
        assert len(caplog.messages) == 1
        server.start()
        cache.drop("default", ["a"])
        cache.read(["a"], Origin(a=b"2").load)
        assert kept(cache, a=2) == {"a": b"2"}


def test_what_a_restart_brings_back_is_not_believed(started, connected):
    server = started()
    cache = connected(server.url)
    cache.read(["a", "b"], Origin(a=b"old", b=b"same").load)
    generation = cache.generation("default")
    cache._redis.save()
    cache.drop("default", ["a"])
    server.kill()
    server.start()
    assert cache._redis.exists("a")
    assert dict(cache.read(["a"], Origin(a=b"new").load)) == {"a": b"new"}
    assert cache.generation("default") != generation


def test_a_token_that_a_restart_brings_back_fills_nothing(started, connected):
    server = started()
    cache = connected(server.url)

    def load(keys):
        cache._redis.save()
        cache.drop("default", keys)
        server.kill()
        server.start()
        assert cache._redis.exists("a")
        return dict.fromkeys(keys, b"old")

    assert dict(cache.read(["a"], load)) == {"a": b"old"}
    assert dict(cache.read(["a"], Origin(a=b"new").load)) == {"a": b"new"}


@pytest.mark.parametrize("options", [["--maxmemory", "1"], ["--replicaof", "127.0.0.1", "9"]], ids=["full", "replica"])
def test_a_redis_that_takes_nothing_is_passed_by(started, connected, caplog, options):
    cache = connected(started(*options).url)
    for _ in range(2):
        assert dict(cache.read(["a"], Origin(a=b"1").load)) == {"a": b"1"}
    assert len(caplog.messages) == 1


def test_a_replica_cannot_be_told_what_to_drop(started, connected):
    with pytest.raises(Unreachable, match="read only replica"):
        connected(started("--replicaof", "127.0.0.1", "9").url).drop("default", ["a"])


# ---- what has to be changed by somebody --------------------------------------------------------------------


def refused(cache):
    """The error of a drop; reading has to go on meanwhile."""
    assert dict(cache.read(["a"], Origin(a=b"1").load)) == {"a": b"1"}
    with pytest.raises(Misconfigured) as error:
        cache.drop("default", ["a"])
    with pytest.raises(Misconfigured) as found:
        cache.check()
    assert found.value.code == error.value.code
    return error.value


@pytest.mark.parametrize("who", [f":{PASSWORD}@", f"somebody:{PASSWORD}@", f"default:{PASSWORD}%40%3A@", ""])
def test_who_is_not_let_in_is_told_so_without_the_password(started, connected, caplog, who):
    server = started("--requirepass", "another")
    error = refused(connected(server.url.replace("//", f"//{who}")))
    assert error.code == "COL-0661"
    assert PASSWORD not in f"{error} {error!r} {error.__cause__!r} {caplog.text}"


def test_a_user_without_rights_is_told_so(started, connected):
    server = started("--user", "reader", "on", f">{PASSWORD}", "~*", "+@read")
    error = refused(connected(server.url.replace("//", f"//reader:{PASSWORD}@")))
    assert (error.code, PASSWORD in str(error)) == ("COL-0663", False)


def test_the_rights_the_error_names_are_enough(started, connected):
    rights = ["~*", "+@read", "+@write", "+@scripting", "+@transaction", "+info"]
    server = started("--user", "ours", "on", f">{PASSWORD}", *rights)
    cache = connected(server.url.replace("//", f"//ours:{PASSWORD}@"))
    cache.read(["a"], Origin(a=b"1").load)
    assert kept(cache, a=1) == {"a": b"1"}
    cache.drop("default", ["a"])
    assert kept(cache, a=1) == {}
    assert re.fullmatch(r"[\d.]+", cache.check())


def test_a_database_that_is_not_there_is_told(cache_url, connected):
    assert refused(connected(cache_url.removesuffix("/0") + "/16")).code == "COL-0664"


class OtherServer(socketserver.BaseRequestHandler):
    greeting: bytes

    def handle(self):
        self.request.sendall(self.greeting)
        while self.request.recv(10_000):
            pass


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n"])
def test_another_server_is_told_from_a_redis(connected, greeting):
    speaking = type("Speaking", (OtherServer,), {"greeting": greeting})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), speaking) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        assert refused(connected(f"redis://127.0.0.1:{other.server_address[1]}")).code == "COL-0665"
        other.shutdown()


# ---- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture
def certified(started, tmp_path):
    """The port of a Redis that speaks TLS only, and the file of the authority that signed it."""
    key, authority = tmp_path / "key", tmp_path / "authority"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    command = ["openssl", "req", *options.split(), "-keyout", key, "-out", authority]
    subprocess.run(command, check=True, capture_output=True)
    files = ["--tls-cert-file", str(authority), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    return started(*files, "--port", "0", "--tls-port", "PORT").port, authority


def test_tls_is_spoken_and_the_authority_checked(certified, connected):
    port, authority = certified
    cache = connected(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")
    cache.drop("default", ["a"])
    cache.read(["a"], Origin(a=b"1").load)
    assert kept(cache, a=1) == {"a": b"1"}


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs=/no/such/file"])
def test_a_redis_nobody_vouches_for_is_refused(certified, connected, options):
    assert refused(connected(f"rediss://127.0.0.1:{certified[0]}/0{options}")).code == "COL-0666"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        f"http://:{PASSWORD}@127.0.0.1/0",
        f"redis://:{PASSWORD}@127.0.0.1/name",
        f"redis://:{PASSWORD}@127.0.0.1/0/1",
        f"redis://127.0.0.1:{PASSWORD}/0",
        f"redis://u:1:{PASSWORD}@127.0.0.1:x/0",
        f"redis://:{PASSWORD}@127.0.0.1/0?no_such_option=1",
        f"redis://127.0.0.1/0?db={PASSWORD}",
        f"redis://[{PASSWORD}/0",
    ],
)
def test_what_is_no_address_is_refused_without_saying_it(url):
    with pytest.raises(Misconfigured) as error:
        RedisCache(url)
    assert error.value.code == "COL-0662"
    assert PASSWORD not in f"{error.value} {error.value!r} {error.value.__cause__!r}"
