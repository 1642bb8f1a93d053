"""A TCP proxy between a client and a server under test: what is on its way is delayed, swallowed or cut off.

with Proxy("127.0.0.1", 3306) as proxy:
    proxy.when(b"COMMIT", Link.lose_answer)  # the next one is done, and nobody hears of it
    ...                                      # a client at 127.0.0.1:{proxy.port}
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

CHUNK = 1 << 16


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: "Proxy", client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(proxy.target)
        self.silent = self._loses_answer = False

    def cut(self) -> None:
        """End it at once, for both sides."""
        for each in (self.client, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def hush(self) -> None:
        """Become a black hole: it stays open, and nothing comes out at either end any more."""
        self.silent = True

    def lose_answer(self) -> None:
        """Cut it as soon as the server has answered, before the client hears of it."""
        self._loses_answer = True

    def carry(self) -> None:
        back = threading.Thread(target=self._carry, args=(self.server, self.client))
        back.start()
        self._carry(self.client, self.server)
        back.join()
        self.client.close()
        self.server.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        tail = b""
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if target is self.server:
                    tail = self.proxy.noticed(self, tail + data)
                elif self._loses_answer:
                    break
                time.sleep(self.proxy.latency)
                if not self.silent:
                    target.sendall(data)
        self.cut()


class Proxy:
    """Every connection to `port` goes on to the server; `latency` is in seconds, for each piece that is sent."""

    def __init__(self, host: str, port: int) -> None:
        self.target, self.latency = (host, port), 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._awaited: dict[bytes, Callable[[Link], None]] = {}
        self._links: list[Link] = []
        self._threads = [threading.Thread(target=self._accept)]

    def when(self, sent: bytes, happens: Callable[[Link], None]) -> None:
        """The next time a client sends these bytes, before the server gets them; once."""
        self._awaited[sent] = happens

    @property
    def awaits(self) -> set[bytes]:
        """What was not sent yet."""
        return set(self._awaited)

    def cut(self) -> None:
        """All connections; new ones are taken."""
        for each in self._links:
            each.cut()

    def noticed(self, link: Link, data: bytes) -> bytes:
        """Answers the end of `data`, in which something awaited may begin."""
        for sent in [each for each in self._awaited if each in data]:
            self._awaited.pop(sent)(link)
        longest = max(map(len, self._awaited), default=1)
        return data[1 - longest :] if longest > 1 else b""

    def __enter__(self) -> "Proxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        self.cut()
        for each in self._threads:
            each.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    self._links.append(Link(self, client))
                except OSError:  # the server is away: so is what stands before it
                    client.close()
                    continue
                self._threads.append(threading.Thread(target=self._links[-1].carry))
                self._threads[-1].start()
