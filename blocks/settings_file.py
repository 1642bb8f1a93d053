"""The file `settings` in the platform's folder: what `collect storage set` was told. It holds passwords."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from collectors.errors import Misconfigured

RIGHTS = 0o600
OF_OTHERS = 0o077


def read(home: Path) -> dict[str, str] | None:
    """What it says; None when there is none. Raises Misconfigured."""
    path = _path(home)
    try:
        if path.stat().st_mode & OF_OTHERS:
            raise _open_to_others(path)
        return _parsed(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise Misconfigured(
            "{path} cannot be read ({why})",
            "Correct it, or begin anew: rm {path}; collect storage set METADATA DOCUMENTS CACHE QUEUE",
            code="COL-0693",
            path=path,
            why=getattr(error, "strerror", None) or "TOML",
        ) from None


def write(home: Path, values: Mapping[str, str]) -> None:
    """A reader sees the old one or the new one, and others see neither."""
    part = home / f".settings.{os.getpid()}"
    part.unlink(missing_ok=True)
    part.touch(mode=RIGHTS)
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()]
    part.write_text("".join(lines), encoding="utf-8")
    part.replace(_path(home))


def _path(home: Path) -> Path:
    return home / "settings"


def _parsed(text: str) -> dict[str, str]:
    import tomllib  # where there is no file, no command pays for it

    return {name: str(value) for name, value in tomllib.loads(text).items()}


def _open_to_others(path: Path) -> Misconfigured:
    return Misconfigured(
        "others can read {path}, which holds passwords",
        "Take that right away: chmod 600 {path}; and change the passwords, if others use this machine.",
        code="COL-0696",
        path=path,
    )
