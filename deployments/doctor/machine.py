"""This machine: versions, the folder and its rights, free space, what SQLite and the terminal can do."""

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_IMODE

from blocks.settings import Settings
from collectors.language import spoken
from deployments.doctor.findings import Finding

TOO_NEW_FASTAPI = (0, 151)
OWNER_ONLY = 0o700
MIB = 2**20
LITTLE_SPACE, TOO_LITTLE_SPACE = 1024 * MIB, 100 * MIB


def versions(_: Settings) -> Iterator[Finding]:
    found = {name: _version(name) for name in ("platform-collect", "prefect", "fastapi")}
    what = spoken(
        "python {python}, collect {collect}, prefect {prefect}, fastapi {fastapi} (must be < 0.151)",
        python=platform.python_version(),
        collect=found["platform-collect"],
        prefect=found["prefect"],
        fastapi=found["fastapi"],
    )
    usable = found["prefect"] != "?" and (0,) < _numbers(found["fastapi"]) < TOO_NEW_FASTAPI
    fix = spoken("install what requirements.lock says: pip install --no-deps --require-hashes -r requirements.lock")
    yield Finding("ok", "versions", what) if usable else Finding("fail", "versions", what, fix)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def home(settings: Settings) -> Iterator[Finding]:
    folder = settings.home
    elsewhere = spoken("set COLLECT_HOME to a folder that can be written")
    if not os.path.lexists(folder):
        yield Finding("skip", "home", spoken("folder {folder}: nothing was collected here yet", folder=folder))
    elif not folder.is_dir():
        yield Finding("fail", "home", spoken("{folder} is no folder", folder=folder), elsewhere)
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("fail", "home", spoken("folder {folder} cannot be read and written", folder=folder), elsewhere)
    elif S_IMODE(folder.stat().st_mode) & ~OWNER_ONLY:
        yield Finding(
            "warn",
            "home",
            spoken("folder {folder} can be opened by others; it may hold credentials", folder=folder),
            f"chmod 700 {folder}",
            lambda: folder.chmod(OWNER_ONLY),
        )
    else:
        yield Finding("ok", "home", spoken("folder {folder}, readable by its owner only", folder=folder))


def space(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(settings.home)).free
    state = "fail" if free < TOO_LITTLE_SPACE else "warn" if free < LITTLE_SPACE else "ok"
    fix = "" if state == "ok" else spoken("make room, or set COLLECT_HOME to another disk")
    yield Finding(state, "space", spoken("{free} MiB free on the disk", free=f"{free // MIB:,}"), fix)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def sqlite(_: Settings) -> Iterator[Finding]:
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
        except sqlite3.OperationalError:
            what = spoken("SQLite {version} has no full-text search (FTS5)", version=sqlite3.sqlite_version)
            yield Finding("warn", "sqlite", what, spoken("use a Python whose SQLite has it"))
            return
    yield Finding("ok", "sqlite", spoken("SQLite {version} with FTS5", version=sqlite3.sqlite_version))


def terminal(_: Settings) -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or "?").lower()
    what = spoken("terminal encoding {encoding}", encoding=encoding)
    usable = encoding.replace("-", "") == "utf8"
    yield Finding("ok", "terminal", what) if usable else Finding("warn", "terminal", what, "export LC_ALL=C.UTF-8")
