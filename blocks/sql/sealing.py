"""What the audit is sealed with: keys by their ids, of which the first one seals, and all that are known verify."""

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.settings_file import OF_OTHERS, RIGHTS
from collectors.errors import Misconfigured
from collectors.language import spoken


class Seals:
    """Of the `keys` that are given; where there are none, of one that is kept in `file`, and made at first use."""

    def __init__(self, keys: Mapping[str, bytes], file: Path | None = None) -> None:
        self._keys, self._file = dict(keys), file

    @classmethod
    def passing(cls) -> "Seals":
        """Of a key that ends with this process: for who opens a database by itself, beside the platform."""
        return cls({"passing": secrets.token_bytes(32)})

    def sealed(self, *what: Any) -> tuple[str, str]:
        """The id of the key, and the seal. Raises Misconfigured."""
        if not self._keys and self._file:
            _make(self._file)
        key_id = next(iter(self._known()))
        return key_id, self.by(key_id, *what)

    def by(self, key_id: str, *what: Any) -> str:
        """The seal by a key that is known. What somebody has put into a column may be of any type."""
        text = json.dumps(what, separators=(",", ":"), default=repr)
        return hmac.digest(self._known()[key_id], text.encode(), "sha256").hex()

    def holds(self, seal: str, key_id: str, *what: Any) -> bool:
        """Whether it is the seal of that. Raises Misconfigured."""
        return self.knows(key_id) and hmac.compare_digest(str(seal).encode(), self.by(key_id, *what).encode())

    def knows(self, key_id: str) -> bool:
        return key_id in self._known()

    def _known(self) -> Mapping[str, bytes]:
        if not self._keys and self._file and self._file.exists():
            self._keys = _read(self._file)
        return self._keys


def _make(path: Path) -> None:
    """Whole or not at all, and by one of those who try at the same time."""
    if path.exists():
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        part.touch(mode=RIGHTS, exist_ok=False)
        with part.open("w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(4)}:{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
        finally:
            part.unlink()
    except OSError as error:
        raise _unusable(path, error.strerror) from error


def _read(path: Path) -> dict[str, bytes]:
    try:
        if path.stat().st_mode & OF_OTHERS:
            raise _unusable(path, spoken("others can read it"))
        id, _, key = path.read_text(encoding="ascii").strip().partition(":")
    except UnicodeDecodeError:
        id = key = ""
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    if not (id and key):
        raise _unusable(path, spoken("it holds no key"))
    return {id: key.encode()}


def _unusable(path: Path, why: str | None) -> Misconfigured:
    return Misconfigured(
        "the key of the audit, {path}, cannot be used ({why})",
        "Bring it back from a copy of the folder, for its owner only: chmod 600 {path}",
        code="COL-0293",
        path=path,
        why=why,
    )
