"""The bare loop: what a script of ten lines would do, and nothing else. GET, decode, INSERT, commit, page after page.

python -m bench.bare ADDRESS FILE
"""

import json
import sqlite3
import sys
import time
from contextlib import closing

import httpx
import orjson


def main(address: str, path: str) -> None:
    began, cpu, offset = time.perf_counter(), time.process_time(), 0
    with httpx.Client(trust_env=False) as client, closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, name TEXT, body TEXT)")
        while True:
            query = f"/index.php?/api/v2/get_cases/1&suite_id=1&limit=250&offset={offset}"
            page = orjson.loads(client.get(address + query).content)["cases"]
            if not page:
                break
            rows = [(each["id"], each["title"], orjson.dumps(each).decode()) for each in page]
            database.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            database.commit()
            offset += len(page)
    done = {"records": offset, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
