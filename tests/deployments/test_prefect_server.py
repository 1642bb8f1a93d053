"""The Prefect server that stays: started once, found again, ended by who started it, never in anybody's way."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from httpx import AsyncClient, Limits

from blocks.settings import Settings
from collectors.errors import Misconfigured
from deployments import prefect_server
from deployments.ports import free_port
from deployments.prefect_server import taken


def address(text):
    return re.search(r"http://\S+", text)[0]


class Foreign(BaseHTTPRequestHandler):
    """A Prefect server of another folder."""

    def do_GET(self):
        body = b"true" if self.path == "/api/health" else b'{"home": "/somewhere/else"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def racing():
    """A port that is free when it is looked at, and taken by another server when it is used."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign, bind_and_activate=False)
    server.allow_reuse_address = True
    server.server_bind()
    with server:
        yield server
        server.shutdown()


def test_a_server_is_started_once_on_another_port_when_its_own_is_taken_and_ends_on_down(tmp_path, new_collect):
    collect = new_collect(tmp_path / "a folder" / "home")
    collect.home.parent.mkdir()
    with racing() as other:
        port = other.server_port
        assert free_port(port) == port
        starting = collect.start("up", "--port", str(port))
        assert starting.stderr.readline().startswith("starting")
        other.server_activate()
        threading.Thread(target=other.serve_forever, daemon=True).start()
        started, said = starting.communicate(timeout=120)
    assert starting.returncode == 0, said
    assert f":{port}" not in started
    again = collect("up").stdout
    assert "runs already" in again and address(again) == address(started)
    assert "ended" in collect("down").stdout
    assert "no Prefect server runs" in collect("down").stdout


def test_many_flow_runs_at_once_are_taken_without_being_asked_to_come_again(prefect_server):
    """The client would sleep for 2, 4, 8 and more seconds before it does."""
    states = ("RUNNING", "COMPLETED") * 3

    async def one_after_another(client, flow_id):
        made = await client.post("/flow_runs/", json={"flow_id": flow_id, "state": {"type": "PENDING"}})
        path = f"/flow_runs/{made.json().get('id')}/set_state"
        answers = [await client.post(path, json={"state": {"type": state}, "force": True}) for state in states]
        return [answer.status_code for answer in (made, *answers)]

    async def at_once():
        api, anew = prefect_server["PREFECT_API_URL"], Limits(max_keepalive_connections=0)
        async with AsyncClient(base_url=api, timeout=60, limits=anew, trust_env=False) as client:
            flow = (await client.post("/flows/", json={"name": "many-at-once"})).json()["id"]
            return await asyncio.gather(*(one_after_another(client, flow) for _ in range(20)))

    assert {status for statuses in asyncio.run(at_once()) for status in statuses} == {201}


def test_only_a_process_that_is_certainly_the_server_is_ended(tmp_path, new_collect):
    collect = new_collect(tmp_path / "home")
    collect("down")
    note = collect.home / "prefect-server.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for process in (f"{socket.gethostname()}:{other.pid}:1", f"elsewhere:{other.pid}:1"):
            note.write_text(json.dumps({"api": "http://127.0.0.1:9/api", "process": process}))
            assert "no Prefect server runs" in collect("down").stdout
            assert other.poll() is None
    for broken in ("{broken", "[]", '{"api": 5, "process": 7}'):
        note.write_text(broken)
        assert "no Prefect server runs" in collect("down").stdout


def test_a_port_somebody_listens_on_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert taken(f"http://127.0.0.1:{port}/api")
        assert free_port(port) != port
    assert not taken(f"http://127.0.0.1:{port}/api")


@pytest.mark.parametrize("port", [-1, 65_536, 99_999_999])
def test_a_port_there_is_not_is_refused(tmp_path, port):
    with pytest.raises(Misconfigured) as refused:
        prefect_server.up(Settings(tmp_path / "home", None), port)
    assert refused.value.code == "COL-0702"
    assert str(port) in refused.value.what
    assert not (tmp_path / "home").exists()
