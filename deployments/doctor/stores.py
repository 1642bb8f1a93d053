"""The databases: whether they open, are whole and of this version; and the runs nobody works on."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, StaticPool, create_engine

from blocks.documents import search_index
from blocks.settings import Settings
from blocks.sql.catalog import Catalog
from blocks.sql.registry import Registry
from blocks.sql.tables import SCHEMA
from blocks.sql.tables import catalog as tables
from blocks.stores import open_storage
from collectors.language import spoken
from collectors.states import RunState
from deployments.doctor.findings import Finding

SECONDS_TO_CHECK = 5.0
STEPS_BETWEEN_LOOKS = 10_000
LIVE = "SELECT kind, count(*) FROM document WHERE NOT deleted GROUP BY kind"
MIB = 2**20


@contextmanager
def _looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; after SECONDS_TO_CHECK what it is asked ends with SQLITE_INTERRUPT."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
        give_up = time.monotonic() + SECONDS_TO_CHECK
        connection.set_progress_handler(lambda: time.monotonic() > give_up, STEPS_BETWEEN_LOOKS)
        yield connection


def _unfinished(check: str, of: str, error: sqlite3.DatabaseError) -> Finding | None:
    """That the look at a file or index did not come to its end, if that is what `error` says: nothing is wrong then."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_INTERRUPT:
            return Finding("warn", check, spoken("{of}: too large to be checked to its end", of=of))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            fix = spoken("wait for the process that holds it, or look for one that is frozen")
            return Finding("warn", check, spoken("{of}: kept locked by another process", of=of), fix)
    return None


def databases(settings: Settings) -> Iterator[Finding]:
    if settings.addresses:
        yield from _servers(settings)
        return
    for path in (settings.database, settings.documents):
        yield (
            _database(path) if path.exists() else Finding("skip", "database", spoken("{path}: not made yet", path=path))
        )


def _servers(settings: Settings) -> Iterator[Finding]:
    from blocks.checking import checked

    for each in checked(settings):
        where = f"{each.role} {each.address}"
        if each.wrong:
            yield Finding("fail", "database", f"{where}: {each.wrong}", "collect storage check")
        else:
            yield Finding("ok", "database", f"{where}: {each.version}")


def _database(path: Path) -> Finding:
    try:
        with _looked_at(path) as connection:
            return _examined(path, connection)
    except sqlite3.DatabaseError as error:
        return _unfinished("database", str(path), error) or _unreadable(path, error)


def _unreadable(path: Path, error: sqlite3.DatabaseError) -> Finding:
    what = spoken("{path} cannot be read ({why})", path=path, why=error)
    if isinstance(error, sqlite3.OperationalError):
        return Finding("fail", "database", what, spoken("check the rights of the folder and of what is in it"))
    return Finding("fail", "database", what, spoken("move it away, or put a copy of it back, and collect again"))


def _examined(path: Path, connection: sqlite3.Connection) -> Finding:
    schema, journal = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode"))
    size = f"{path.stat().st_size / MIB:,.1f}"
    what = spoken(
        "{path}: {journal}, {size} MiB, schema {schema}", path=path, journal=journal, size=size, schema=schema
    )
    if schema > SCHEMA:
        return Finding("fail", "database", what, spoken("a newer platform-collect made it: install that one"))
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        damaged = spoken("{what}: damaged ({said})", what=what, said=said)
        return Finding("fail", "database", damaged, spoken("put a copy of it back, or move it away and collect again"))
    if journal != "wal":
        return Finding("warn", "database", what, f"sqlite3 {path} 'PRAGMA journal_mode = WAL'")
    return Finding("ok", "database", what)


def search(settings: Settings) -> Iterator[Finding]:
    """Whether the index can be read, and knows as many documents as there are. Nothing waits meanwhile."""
    if settings.addresses:
        yield Finding("skip", "search", spoken("search index: MongoDB has it"))
        return
    try:
        said = _index_damage(settings.documents) if _is_there(settings.documents) else None
    except sqlite3.OperationalError as error:
        what = spoken("search index: cannot be looked at ({why})", why=error)
        yield _unfinished("search", spoken("search index"), error) or Finding("warn", "search", what)
        return
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said is None:
        yield Finding("skip", "search", spoken("search index: none yet"))
    elif said:
        yield _damaged(settings, said)
    else:
        yield Finding("ok", "search", spoken("search index: whole"))


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _index_damage(path: Path) -> str | None:
    """What is wrong with the index, empty if nothing; None when there is none."""
    with _looked_at(path) as connection:
        if "search_vocabulary" not in _names(connection):
            return None
        lacking = sum(max(0, live - _entered(connection, kind)) for kind, live in connection.execute(LIVE).fetchall())
    return spoken("{count:,} records are not in it", count=lacking) if lacking else ""


def _entered(connection: sqlite3.Connection, kind: str) -> int:
    question, parameter = search_index.entered(kind)
    return connection.execute(question, (parameter,)).fetchone()[0]


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _damaged(settings: Settings, said: str) -> Finding:
    what, fix = spoken("search index: damaged ({said})", said=said), "collect doctor --fix"
    # To make it anew takes the write lock for longer than the writers of a run would wait.
    if run_id := _under_way(settings):
        return Finding("fail", "search", what, spoken("when run {run_id} has ended: {fix}", run_id=run_id, fix=fix))
    return Finding("fail", "search", what, fix, lambda: _reindex(settings))


def _under_way(settings: Settings) -> str | None:
    with known(settings) as found:
        return next(iter(found[0].under_way()), None) if found else None


def _reindex(settings: Settings) -> None:
    with open_storage(settings) as storage:
        storage.documents.reindex()


class _Looking:
    """What the catalog needs of a database to be looked at: nothing can be written."""

    outage = 0.0

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    def read(self) -> Connection:
        return self._engine.connect()


@contextmanager
def known(settings: Settings) -> Iterator[tuple[Catalog, Registry] | None]:
    """Catalog and registry, where there are any that this version can read; nothing is made, and nothing changed."""
    if settings.addresses:
        with open_storage(settings) as storage:
            yield storage.catalog, storage.registry
        return
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(_looked_at(settings.database))
            readable = _is_catalog(connection)
        except sqlite3.DatabaseError:
            readable = False
        if not readable:
            yield None
            return
        database = _Looking(connection)
        yield Catalog(database), Registry(database)


def _is_catalog(connection: sqlite3.Connection) -> bool:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    return 0 < schema <= SCHEMA and tables.tables.keys() <= _names(connection)


def runs(settings: Settings) -> Iterator[Finding]:
    with known(settings) as found:
        if found is None:
            yield Finding("skip", "runs", spoken("runs: no database to look at"))
            return
        catalog, _ = found
        deserted = [run_id for run_id in catalog.with_state(RunState.RUNNING) if not catalog.seconds_held(run_id)]
    for run_id in deserted:
        what = spoken("run {run_id} says RUNNING, but no process works on it", run_id=run_id)
        yield Finding("warn", "runs", what, f"collect resume {run_id}")
    if not deserted:
        yield Finding("ok", "runs", spoken("runs: each that says RUNNING has a process"))
