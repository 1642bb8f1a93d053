"""Where this installation keeps things. The only reader of the environment, and of the file `settings`."""

import hashlib
import json
import os
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from blocks.addresses import ROLES, Addresses, addresses, refuse_unsafe
from collectors.errors import Misconfigured

PROFILES = ("development", "production")
KEYS, PROFILE = "signing_keys", "profile"
BLOCK = "collect"
SECONDS_FOR_A_BLOCK = 3.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds everything the embedded parts keep; `prefect_api_url` is set by who brings a Prefect server.

    Without `addresses` the embedded stores are used; `origin` says where the addresses are from. `signing_keys` are
    secrets by their ids: the first one signs what travels through the queue, all of them are known.
    """

    home: Path
    prefect_api_url: str | None = None
    addresses: Addresses | None = None
    signing_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    origin: str = "embedded"

    @classmethod
    def load(cls) -> "Settings":
        """From the environment, else from the file, else from the Prefect blocks of that name. Raises Misconfigured.

        COLLECT_HOME is the folder (default: .collect in the working directory).
        """
        home, api = _home(), os.environ.get("PREFECT_API_URL") or None
        origin, found = _found(home, api)
        where = addresses(found) if any(found.get(role) for role in ROLES) else None
        keys = signing_keys(found.get(KEYS))
        if _profile(found.get(PROFILE)) == "production" and where:
            refuse_unsafe(where, bool(keys))
        if where and not keys:
            keys = {"url": hashlib.sha256(b"platform-collect " + where.queue.encode()).digest()}
        return cls(home, api, where, keys, origin if where else "embedded")

    @classmethod
    def load_file(cls) -> "Settings":
        """Without the addresses: to write them anew, however wrong those are that stand there."""
        return cls(_home(), os.environ.get("PREFECT_API_URL") or None)

    @property
    def database(self) -> Path:
        return self.home / "collect.db"

    @property
    def documents(self) -> Path:
        return self.home / "documents.db"

    @property
    def prefect_home(self) -> Path:
        return self.home / "prefect"

    def make_home(self) -> None:
        """Create the folder, readable by its owner only: definitions in it may hold credentials."""
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Misconfigured(
                "{home} cannot be used as the platform's folder ({why})",
                "Set COLLECT_HOME to a folder that can be written.",
                code="COL-0613",
                home=self.home,
                why=error.strerror,
            ) from error

    def keep(self, values: Mapping[str, str]) -> None:
        """Write the file anew, readable by its owner only; a reader sees the old one or the new one."""
        self.make_home()
        part = self.home / f".settings.{os.getpid()}"
        part.touch(mode=0o600)
        part.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        part.replace(_file(self.home))

    def kept(self) -> dict[str, str]:
        """What the file says."""
        return _of_file(self.home)


def language() -> str:
    """`zh` or `en`, as COLLECT_LANG or the locale says."""
    names = ("COLLECT_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    found = next((value for name in names if (value := os.environ.get(name))), "")
    return "zh" if found.lower().startswith("zh") else "en"


def secret(name: str) -> str | None:
    """The environment variable a definition refers to as `env:NAME`."""
    return os.environ.get(name)


# ---- where it is said ----------------------------------------------------------------------------------------


def _home() -> Path:
    named = os.environ.get("COLLECT_HOME") or ".collect"
    try:
        return Path(named).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise Misconfigured(
            "the platform's folder {named} cannot be found ({why})",
            "Set COLLECT_HOME to a folder that can be written.",
            code="COL-0210",
            named=named,
            why=getattr(error, "strerror", error),
        ) from error


def _found(home: Path, api: str | None) -> tuple[str, dict[str, str]]:
    """Addresses are taken from one place as a whole; keys and profile may stand in the environment beside them."""
    names = (*ROLES, KEYS, PROFILE)
    given = {name: value for name in names if (value := os.environ.get(f"COLLECT_{name.upper()}"))}
    if any(role in given for role in ROLES):
        return "environment", given
    if of_file := _of_file(home):
        return "file", of_file | given
    # A folder that holds embedded data stays embedded.
    if api and not (home / "collect.db").exists() and (of_blocks := _of_blocks(api)):
        return "block", of_blocks | given
    return "embedded", given


def _file(home: Path) -> Path:
    return home / "settings"


def _of_file(home: Path) -> dict[str, str]:
    path = _file(home)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(
            "{path} cannot be read ({why})",
            "Write it anew: collect storage set METADATA DOCUMENTS CACHE QUEUE",
            code="COL-0693",
            path=path,
            why=getattr(error, "strerror", None) or "it is no TOML",
        ) from None
    return {name: str(value) for name, value in found.items()}


def _of_blocks(api: str) -> dict[str, str]:
    """Asked without Prefect's client, whose import takes seconds. No server, or no such block: nothing."""
    found: dict[str, str] = {}
    for role in ROLES:
        address = f"{api}/block_types/slug/collect-{role}/block_documents/name/{BLOCK}?include_secrets=true"
        try:
            with urlopen(_request(address), timeout=SECONDS_FOR_A_BLOCK) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
        except (OSError, ValueError, KeyError):
            return {}
        found |= {role: data["url"]} | ({KEYS: data["keys"]} if data.get("keys") else {})
    return found


def _request(address: str) -> Request:
    credentials = os.environ.get("PREFECT_API_AUTH_STRING")
    basic = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"} if credentials else {}
    return Request(address, headers=basic)


def signing_keys(text: str | None) -> dict[str, bytes]:
    """`id:secret,id:secret`; the first one signs."""
    keys = {}
    for part in (text or "").split(","):
        id, colon, value = part.strip().partition(":")
        if part.strip() and not (id and colon and value):
            raise Misconfigured(
                "the signing keys cannot be read",
                "Write them as id:secret, and several with commas between, in COLLECT_SIGNING_KEYS.",
                code="COL-0694",
            )
        if id:
            keys[id] = value.encode()
    return keys


def _profile(name: str | None) -> str:
    if name and name not in PROFILES:
        raise Misconfigured(
            "there is no profile {name}",
            "COLLECT_PROFILE is development or production.",
            code="COL-0695",
            name=name,
        )
    return name or PROFILES[0]
