"""A MongoDB replica set: how it is reached, and what its failures mean to people."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pymongo
from bson import Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from pymongo import MongoClient
from pymongo.database import Database

from blocks.documents.mongo_failures import FAILURES, meaning, no_replica_set

CONNECT_MILLISECONDS = 3_000
ANSWER_MILLISECONDS = 10_000


class _PlainInteger(TypeDecoder):
    """A long integer comes back as the type it was."""

    bson_type = Int64

    def transform_bson(self, value: Int64) -> int:
        return int(value)


class MongoServer:
    """The database that `url` names in its path, on a replica set.

    Whatever uses it raises Unreachable when no primary answers in time, Misconfigured when it does not let us in or is
    no replica set, Rejected when it refuses the data.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.server = _shown(url)

    def check(self) -> str:
        """The server's version, and its replica set."""
        with self.explained():
            name = self.database.command("hello")["setName"]
            return f"{self._client.server_info()['version']}, replica set {name}"

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> MongoClient:
        return MongoClient(
            self.url,
            w="majority",
            journal=True,
            retryWrites=False,  # every write may be repeated, and whoever called does so
            timeoutMS=ANSWER_MILLISECONDS,
            readPreference="primary",  # whoever caches what is read must not read what was
            connectTimeoutMS=CONNECT_MILLISECONDS,
            tz_aware=True,
            type_registry=TypeRegistry([_PlainInteger()]),
        )

    @cached_property
    def database(self) -> Database[dict[str, Any]]:
        with pymongo.timeout(CONNECT_MILLISECONDS / 1000):
            answer = self._client.admin.command("hello")
        if "setName" not in answer:
            raise no_replica_set(self.server)
        return self._client.get_default_database()

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            topology = self._client.topology_description if "_client" in self.__dict__ else None
            raise meaning(error, self.server, topology) or error from error


def _shown(url: str) -> str:
    """Host and database."""
    return url.partition("://")[2].partition("?")[0].rpartition("@")[2]
