"""Ports of this machine that nobody listens on."""

import random
import socket

HOST = "127.0.0.1"
# Below those that the system gives to clients: none of them is on it when its server comes to listen.
PORTS = range(20_000, 32_000)


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, else any that is free."""
    ports = [*([wanted] if wanted else []), *random.sample(PORTS, len(PORTS))]
    return next(port for port in ports if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
