"""Twenty secrets are planted, everything is run, failures too; none of them is found where people may look."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PLANTED = [f"planted{number:02}secret" for number in range(17)]
API_KEY, WRONG_KEY, OLD_SIGNING, NEW_SIGNING, PREFECT_USER = PLANTED[:5]
# Addresses that cannot be used: nobody listens there, or the port is none.
AWAY = {
    "METADATA": f"mysql://user:{PLANTED[5]}@127.0.0.1:1/database",
    "DOCUMENTS": f"mongodb://user:{PLANTED[6]}@127.0.0.1:1/database?replicaSet=rs0",
    "CACHE": f"redis://:{PLANTED[7]}@127.0.0.1:1/0",
    "QUEUE": f"amqp://user:{PLANTED[8]}@127.0.0.1:1/vhost",
}
UNFIT = {
    "METADATA": f"mysql://user:{PLANTED[9]}@127.0.0.1:none/database",
    "DOCUMENTS": f"mongodb://user:{PLANTED[10]}@127.0.0.1/",
    "CACHE": f"redis://:{PLANTED[11]}@127.0.0.1/name",
    "QUEUE": f"http://user:{PLANTED[12]}@127.0.0.1/vhost",
}
TO_BE_SET = [url.replace(old, new) for url, old, new in zip(AWAY.values(), PLANTED[5:9], PLANTED[13:], strict=True)]
LOOKING = (["status", "--json"], ["errors"], ["storage", "show"], ["storage", "check"], ["doctor"], ["plan", "right"])
HOLD = """
import asyncio
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Batch, Record
async def hold():
    with open_storage(Settings.load()) as storage:
        record = Record(kind="case", id="held-in-the-queue", name="held")
        await storage.queue.publish(Batch("default", "right", "r", "s01", "0.0", 1, (record,)))
        await storage.queue.close()
asyncio.run(hold())
"""


class Talk:
    """Runs commands, and keeps everything they print."""

    def __init__(self, collect, environment) -> None:
        self._collect, self._given, self.said = collect, collect.environment | environment, ""

    def run(self, *arguments, **changed: str) -> int:
        self._collect.environment = self._given | {f"COLLECT_{name}": value for name, value in changed.items()}
        process = self._collect.start(*arguments)
        self.said += "".join(process.communicate(timeout=170))
        return process.returncode

    def hold_a_message(self) -> None:
        subprocess.run([sys.executable, "-c", HOLD], env=self._given, check=True)


@pytest.fixture
def urls(metadata_url, documents_url, cache_url, queue_url):
    return {"METADATA": metadata_url, "DOCUMENTS": documents_url, "CACHE": cache_url, "QUEUE": queue_url}


@pytest.fixture
def talk(collect, urls):
    signing = {"COLLECT_SIGNING_KEYS": f"k2:{NEW_SIGNING * 3},k1:{OLD_SIGNING * 3}"}
    keys = {"PLANTED_KEY": API_KEY, "PLANTED_WRONG": WRONG_KEY, "PREFECT_API_AUTH_STRING": f"user:{PREFECT_USER}"}
    return Talk(collect, {f"COLLECT_{role}": url for role, url in urls.items()} | signing | keys)


def collections(source) -> tuple[str, str]:
    """One with the right key, and one with a wrong one; both name variables of the environment."""
    wrong = Path(source.collection())
    text = wrong.read_text()
    right = wrong.with_name("right.yaml")
    right.write_text(text.replace("secret-key", "env:PLANTED_KEY").replace("name: cases", "name: right"))
    wrong.write_text(text.replace("secret-key", "env:PLANTED_WRONG"))
    return str(right), str(wrong)


def files(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_secret_is_printed_logged_shown_by_prefect_or_queued(collect, sample, talk, urls, rabbitmq, own_prefect):
    with sample("--cases", "60", "--directories", "5", "--api-key", API_KEY) as source:
        right, wrong = collections(source)
        assert talk.run("storage", "migrate") == 0
        assert talk.run("run", right, "--json") == 0
        assert talk.run("run", wrong) == 1
        for command in LOOKING:
            talk.run(*command)
    for given in (AWAY, UNFIT):
        for role, url in given.items():
            talk.run("status", **{role: url})
            talk.run("storage", "check", **{role: url})
    talk.run("run", "right", QUEUE=AWAY["QUEUE"], METADATA=AWAY["METADATA"])
    talk.run("storage", "set", *TO_BE_SET, PROFILE="production")
    talk.hold_a_message()

    (collect.home / "settings").unlink(missing_ok=True)  # the one place that is meant for them
    served = [urlsplit(urls[role]).password for role in ("METADATA", "CACHE", "QUEUE")]
    queued = files(rabbitmq.server.data)
    assert b"held-in-the-queue" in queued, "the search finds what is there"
    for secret in map(str.encode, PLANTED):
        assert secret not in queued
    for secret in map(str.encode, [*PLANTED, *served]):
        assert secret not in talk.said.encode()
        assert secret not in files(collect.home)
        assert secret not in files(Path(own_prefect["PREFECT_HOME"]))
