"""The Prefect server that stays: started once, found again, ended by who started it, never in anybody's way."""

import json
import re
import socket
import subprocess
import sys


def address(text):
    return re.search(r"http://\S+", text)[0]


def test_a_server_is_started_once_on_another_port_when_its_own_is_taken_and_ends_on_down(tmp_path, new_collect):
    collect = new_collect(tmp_path / "a folder" / "home")
    collect.home.parent.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = collect("up", "--port", str(port)).stdout
    assert str(port) not in started
    again = collect("up").stdout
    assert "runs already" in again and address(again) == address(started)
    assert "ended" in collect("down").stdout
    assert "no Prefect server runs" in collect("down").stdout


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
