"""Where this installation keeps things. The only reader of the environment, and of the file `settings`."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks import settings_file
from blocks.addresses import ROLES, Addresses, addresses, parts_of
from collectors.errors import CollectError, Misconfigured, Unreachable

DEVELOPMENT, PRODUCTION = PROFILES = ("development", "production")
KEYS, PROFILE = "signing_keys", "profile"
DERIVED = "url"  # the id of the key that is made of the queue's password where none is given


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds everything the embedded parts keep; `prefect_api_url` is set by who brings a Prefect server.

    Without `addresses` the embedded stores are used; `origin` says where the addresses are from. `signing_keys` are
    secrets by their ids: the first one signs what travels through the queue, all of them are known. `doubt` is why it
    could not be found out which stores are meant.
    """

    home: Path
    prefect_api_url: str | None = None
    addresses: Addresses | None = None
    signing_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    origin: str = "embedded"
    profile: str = DEVELOPMENT
    doubt: CollectError | None = None

    @classmethod
    def load(cls) -> "Settings":
        """From the environment, else from the file, else from the Prefect blocks of that name. Raises Misconfigured.

        COLLECT_HOME is the folder (default: .collect in the working directory).
        """
        bare = cls.of_home()
        try:
            origin, said = _said(bare)
        except Unreachable as error:
            return cls(bare.home, bare.prefect_api_url, doubt=error)
        profile = _profile(said.get(PROFILE))
        if not any(said.get(role) for role in ROLES):
            return cls(bare.home, bare.prefect_api_url, profile=profile)
        where = addresses(said)
        keys = signing_keys(said.get(KEYS)) or _derived(where.queue)
        return cls(bare.home, bare.prefect_api_url, where, keys, origin, profile)

    @classmethod
    def of_home(cls) -> "Settings":
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


@dataclass(frozen=True, slots=True)
class Serving:
    """How the service is run.

    With a `work_pool` its workers carry out what is asked for, else the service itself. `allowed_sources` are the
    addresses that may be named through REST; `requests_per_second` are those of one tenant in one process.
    """

    work_pool: str | None = None
    allowed_sources: tuple[str, ...] = ()
    requests_per_second: float = 1_000.0

    @classmethod
    def load(cls) -> "Serving":
        """From COLLECT_WORK_POOL, COLLECT_ALLOWED_SOURCES (with commas between) and COLLECT_REQUESTS_PER_SECOND.

        Raises Misconfigured.
        """
        allowed = (os.environ.get("COLLECT_ALLOWED_SOURCES") or "").replace(" ", "")
        rate = os.environ.get("COLLECT_REQUESTS_PER_SECOND") or "1000"
        if not re.fullmatch(r"[1-9]\d{0,8}", rate):
            raise Misconfigured(
                "COLLECT_REQUESTS_PER_SECOND is {rate}",
                "It has to be a whole number, 1 or more.",
                code="COL-0698",
                rate=f"{rate!r:.40}",
            )
        return cls(os.environ.get("COLLECT_WORK_POOL") or None, tuple(filter(None, allowed.split(","))), float(rate))


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


def _said(settings: Settings) -> tuple[str, dict[str, str]]:
    """Addresses are taken from one place as a whole; keys and profile may stand in the environment beside them."""
    names = (*ROLES, KEYS, PROFILE)
    given = {name: value for name in names if (value := os.environ.get(f"COLLECT_{name.upper()}"))}
    if any(role in given for role in ROLES):
        return "environment", given
    of_file = settings_file.read(settings.home)
    if of_file is not None:
        return "file", of_file | given
    # A folder that holds embedded data stays embedded.
    if settings.prefect_api_url and not settings.database.exists():
        from blocks.prefect_blocks import asked

        return "block", asked(settings.prefect_api_url, os.environ.get("PREFECT_API_AUTH_STRING")) | given
    return "embedded", given


def signing_keys(text: str | None) -> dict[str, bytes]:
    """`id:secret,id:secret`; the first one signs."""
    keys = {}
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        id, _, value = part.partition(":")
        if not (id and value):
            raise Misconfigured(
                "the signing keys cannot be read",
                "Write them as id:secret, and several with commas between, in COLLECT_SIGNING_KEYS.",
                code="COL-0694",
            )
        keys[id] = value.encode()
    return keys


def written(keys: Mapping[str, bytes]) -> str:
    """As `signing_keys` reads them; without the one that everybody can derive."""
    return ",".join(f"{id}:{value.decode()}" for id, value in keys.items() if id != DERIVED)


def _derived(queue: str) -> dict[str, bytes]:
    """Whoever may use the queue knows its password, by whatever name of the host."""
    return {DERIVED: hashlib.sha256(b"platform-collect " + parts_of(queue).password.encode()).digest()}


def _profile(name: str | None) -> str:
    if name and name not in PROFILES:
        raise Misconfigured(
            "there is no profile {name}",
            "COLLECT_PROFILE is development or production.",
            code="COL-0695",
            name=name,
        )
    return name or DEVELOPMENT
