"""The table of those the platform is compared with. PyMySQL makes one statement of many rows only if the VALUES hold
nothing but %s: a now() among them would mean a statement for each row.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pymysql

FIELDS = ("id", "section_id", "title", "priority_id", "created_on", "updated_on")
TABLE = """
CREATE TABLE perf_case (id BIGINT PRIMARY KEY, directory_id BIGINT, name VARCHAR(255), priority INT,
    create_time BIGINT, update_time BIGINT) CHARACTER SET utf8mb4
"""
INSERT = """
INSERT INTO perf_case (id, directory_id, name, priority, create_time, update_time) VALUES (%s, %s, %s, %s, %s, %s)
ON DUPLICATE KEY UPDATE directory_id = VALUES(directory_id), name = VALUES(name), priority = VALUES(priority),
    create_time = VALUES(create_time), update_time = VALUES(update_time)
"""


class Rows:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        to = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
        self._connection = pymysql.connect(**to, database=parts.path[1:], charset="utf8mb4")
        self._connection.cursor().execute(TABLE)

    def write(self, cases: Sequence[dict[str, Any]]) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.executemany(INSERT, [tuple(case[name] for name in FIELDS) for case in cases])
        self._connection.commit()
