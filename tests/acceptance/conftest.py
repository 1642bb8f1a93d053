"""Servers that answer as a test says, and collections that read them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def server():
    """A real HTTP server that answers every request with what the test sets."""

    class Handler(BaseHTTPRequestHandler):
        tells_time = True

        def do_GET(self):
            status, kind, body = self.server.answer(self.path)
            (self.send_response if self.tells_time else self.send_response_only)(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{found.server_port}"
        yield found
        found.shutdown()


@pytest.fixture
def definition(tmp_path):
    def write(url, **changes):
        source = {"base_url": url, "project_id": 1, "username": "reader", "api_key": "secret-key"}
        values = {
            "name": "cases",
            "collector": "testrail",
            "source": source,
            "strategy": {"retry": {"attempts": 2, "initial": 0.01}},
        }
        path = tmp_path / "cases.yaml"
        path.write_text(json.dumps(values | changes), encoding="utf-8")
        return str(path)

    return write
