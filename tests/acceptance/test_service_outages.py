"""The service on the full stack while its stores go away, one after another: which one is said, and nothing is lost."""

import json
import re
import signal
import subprocess

import httpx
import pytest

from deployments.dev_servers.kinds import MariaDb, MongoDb, RabbitMq, Redis

pytestmark = pytest.mark.timeout(300)
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(start, count):
    return b"\n".join(
        b'{"kind":"case","id":"%d","name":"case %d","content":{"steps":["x"]}}' % (number, number)
        for number in range(start, start + count)
    )


@pytest.fixture
def stack(own_server, collect):
    """Servers that may be struck, and the service on them."""
    servers = {role: own_server(kind) for role, kind in
               {"METADATA": MariaDb, "DOCUMENTS": MongoDb, "CACHE": Redis, "QUEUE": RabbitMq}.items()}  # fmt: skip
    collect.environment |= {f"COLLECT_{role}": server.server.url for role, server in servers.items()}
    collect("storage", "migrate")
    key = json.loads(collect("keys", "create", "--role", "operator", "--json").stdout)["key"]
    with collect.start("serve", "--port", "0", stderr=subprocess.DEVNULL) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())[0]
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=60) as client:
                yield servers, client
        finally:
            process.terminate()
            process.communicate(timeout=60)


def sent(client, body):
    answer = client.post("/api/testcase/import", content=body, headers=NDJSON)
    assert answer.status_code == 202, answer.text
    return answer.json()["run_id"]


def state(client, run_id):
    return client.get(f"/api/task/{run_id}/status").json().get("state")


def refusal(answer):
    return answer.status_code, answer.json()["code"], "Retry-After" in answer.headers


def parts(client):
    return {name: part["state"] for name, part in client.get("/api/health").json()["parts"].items()}


def test_whatever_goes_away_is_named_and_what_was_accepted_is_carried_out_when_it_is_back(stack, until):
    servers, client = stack
    run_id = sent(client, lines(0, 2_500))
    until(lambda: state(client, run_id) == "COMPLETED")
    assert client.get("/api/testcase/7").json()["content"] == {"steps": ["x"]}
    assert set(parts(client).values()) == {"ok"}

    servers["CACHE"].down(signal.SIGKILL)
    assert client.get("/api/testcase/8").json()["name"] == "case 8"
    until(lambda: parts(client)["cache"] == "failed")
    assert client.get("/api/health").json()["status"] == "degraded"
    servers["CACHE"].up()

    servers["QUEUE"].down(signal.SIGKILL)
    assert client.get("/api/testcase/9").status_code == 200
    waiting = sent(client, lines(2_500, 100))
    until(lambda: parts(client)["queue"] == "failed")
    servers["QUEUE"].up()

    servers["DOCUMENTS"].down(signal.SIGKILL)
    status, code, _ = refusal(client.get("/api/testcase/search", params={"q": "case"}))
    assert (status, code[:6]) == (503, "COL-06")
    assert client.get("/api/testcase/tree").status_code == 200
    until(lambda: client.get("/api/health").status_code == 503)
    servers["DOCUMENTS"].up()

    assert client.get("/api/testcase/tree").status_code == 200
    servers["METADATA"].down(signal.SIGKILL)
    assert refusal(client.get("/api/testcase/tree")) == (503, "COL-0621", True)
    until(lambda: client.get("/api/testcase/tree").json()["code"] == "COL-0813")  # the key is not remembered any more
    assert client.post("/api/testcase/import", content=lines(0, 1), headers=NDJSON).status_code == 503
    servers["METADATA"].up()

    until(lambda: client.get("/api/health").json()["status"] == "ok")
    until(lambda: state(client, waiting) == "COMPLETED", seconds=90)
    assert client.get("/api/testcase/2599").json()["name"] == "case 2599"
