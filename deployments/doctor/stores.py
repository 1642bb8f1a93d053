"""The databases: whether they open, are whole and of this version; and the runs nobody works on."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from blocks.catalog import Catalog
from blocks.database import Database
from blocks.settings import Settings
from blocks.storage import open_storage
from blocks.tables import SCHEMA
from blocks.tables import catalog as tables
from collectors.errors import CollectError
from collectors.language import spoken
from collectors.states import RunState
from deployments.doctor.findings import Finding

SECONDS_TO_CHECK = 5.0
STEPS_BETWEEN_LOOKS = 10_000
MIB = 2**20


def databases(settings: Settings) -> Iterator[Finding]:
    for path in (settings.database, settings.documents):
        yield (
            _database(path) if path.exists() else Finding("skip", "database", spoken("{path}: not made yet", path=path))
        )


def _database(path: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            return _examined(path, connection)
    except sqlite3.OperationalError as error:
        what = spoken("{path} cannot be read ({why})", path=path, why=error)
        return Finding("fail", "database", what, spoken("check the rights of the folder and of what is in it"))
    except sqlite3.DatabaseError as error:
        what = spoken("{path} cannot be read ({why})", path=path, why=error)
        return Finding("fail", "database", what, spoken("move it away, or put a copy of it back, and collect again"))


def _examined(path: Path, connection: sqlite3.Connection) -> Finding:
    schema, journal = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode"))
    size = f"{path.stat().st_size / MIB:,.1f}"
    what = spoken(
        "{path}: {journal}, {size} MiB, schema {schema}", path=path, journal=journal, size=size, schema=schema
    )
    if schema > SCHEMA:
        return Finding("fail", "database", what, spoken("a newer platform-collect made it: install that one"))
    said = _damage(connection)
    if said is None:
        return Finding("warn", "database", what, spoken("too large to be checked to its end"))
    if said != "ok":
        damaged = spoken("{what}: damaged ({said})", what=what, said=said)
        return Finding("fail", "database", damaged, spoken("put a copy of it back, or move it away and collect again"))
    if journal != "wal":
        return Finding("warn", "database", what, f"sqlite3 {path} 'PRAGMA journal_mode = WAL'")
    return Finding("ok", "database", what)


def _damage(connection: sqlite3.Connection) -> str | None:
    """What SQLite says of its pages, "ok" if nothing; None when it takes too long."""
    give_up = time.monotonic() + SECONDS_TO_CHECK
    connection.set_progress_handler(lambda: time.monotonic() > give_up, STEPS_BETWEEN_LOOKS)
    try:
        return connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        if time.monotonic() < give_up:
            raise
        return None


def search(settings: Settings) -> Iterator[Finding]:
    """Whether the index can be read to its end, and holds anything where documents are. Nothing waits meanwhile."""
    try:
        said = _index_damage(settings.documents) if _is_there(settings.documents) else None
    except sqlite3.OperationalError:
        said = None
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said is None:
        yield Finding("skip", "search", spoken("search index: none that can be looked at"))
    elif said:
        what = spoken("search index: damaged ({said})", said=said)
        yield Finding("fail", "search", what, "collect doctor --fix", lambda: _reindex(settings))
    else:
        yield Finding("ok", "search", spoken("search index: whole"))


def _index_damage(path: Path) -> str | None:
    """What is wrong with the index, empty if nothing; None when there is no index, or it takes too long."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
        give_up = time.monotonic() + SECONDS_TO_CHECK
        connection.set_progress_handler(lambda: time.monotonic() > give_up, STEPS_BETWEEN_LOOKS)
        (terms,) = connection.execute("SELECT count(*) FROM search_vocabulary").fetchone()
        (documents,) = connection.execute("SELECT EXISTS (SELECT 1 FROM document WHERE NOT deleted)").fetchone()
    return "empty" if documents and not terms else ""


def _reindex(settings: Settings) -> None:
    with open_storage(settings) as storage:
        storage.documents.reindex()


@contextmanager
def known(settings: Settings) -> Iterator[Catalog | None]:
    """The catalog, where there is one that can be opened; nothing is made."""
    try:
        database = Database(settings.database, tables, SCHEMA) if _is_there(settings.database) else None
    except CollectError:
        database = None
    try:
        yield database and Catalog(database)
    finally:
        if database:
            database.close()


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def runs(settings: Settings) -> Iterator[Finding]:
    with known(settings) as catalog:
        if catalog is None:
            yield Finding("skip", "runs", spoken("runs: no database to look at"))
            return
        deserted = [run_id for run_id in catalog.with_state(RunState.RUNNING) if not catalog.seconds_held(run_id)]
    for run_id in deserted:
        what = spoken("run {run_id} says RUNNING, but no process works on it", run_id=run_id)
        yield Finding("warn", "runs", what, f"collect resume {run_id}")
    if not deserted:
        yield Finding("ok", "runs", spoken("runs: each that says RUNNING has a process"))
