"""Where this installation keeps things. The only reader of the environment."""

import os
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds everything the embedded parts keep; `prefect_api_url` is set by who brings a Prefect server."""

    home: Path
    prefect_api_url: str | None

    @classmethod
    def load(cls) -> "Settings":
        """COLLECT_HOME (default: .collect in the working directory) and PREFECT_API_URL. Raises Misconfigured."""
        named = os.environ.get("COLLECT_HOME") or ".collect"
        try:
            home = Path(named).expanduser().absolute()
        except (RuntimeError, OSError) as error:
            raise Misconfigured(
                "the platform's folder {named} cannot be found ({why})",
                "Set COLLECT_HOME to a folder that can be written.",
                code="COL-0210",
                named=named,
                why=getattr(error, "strerror", error),
            ) from error
        return cls(home=home, prefect_api_url=os.environ.get("PREFECT_API_URL") or None)

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


def language() -> str:
    """`zh` or `en`, as COLLECT_LANG or the locale says."""
    names = ("COLLECT_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    found = next((value for name in names if (value := os.environ.get(name))), "")
    return "zh" if found.lower().startswith("zh") else "en"


def secret(name: str) -> str | None:
    """The environment variable a definition refers to as `env:NAME`."""
    return os.environ.get(name)
