"""What a private server is: its program, its first preparation, its command, its address, and a sign of life.

Each has a folder and a port of its own, listens on 127.0.0.1 alone, and touches no server of the system.
"""

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

DATABASE = "collect"
USER = "collect"


@dataclass(frozen=True)
class Server(ABC):
    """One server: `secret` is its password, the same for as long as its folder lives."""

    folder: Path
    port: int
    secret: str

    role: ClassVar[str]  # what the platform keeps there
    title: ClassVar[str]
    install: ClassVar[str]  # what to type on Debian
    programs: ClassVar[tuple[str, ...]]  # names on PATH, and where Debian has it
    system_user: ClassVar[str | None] = None  # who runs it when we are root, and it refuses root

    @classmethod
    def program(cls) -> Path | None:
        """The server's program on this machine."""
        return next((Path(found) for each in cls.programs if (found := shutil.which(each))), None)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def environment(self) -> dict[str, str]:
        """What it is told beside its command."""
        return {}

    @property
    def runs_as(self) -> dict[str, Any]:
        """The options of a process that say whose it is; none where it is ours."""
        if not self.system_user or os.geteuid() != 0:
            return {}
        return {"user": self.system_user, "group": self.system_user, "extra_groups": []}

    @property
    @abstractmethod
    def url(self) -> str:
        """As clients take it, with its database in the path."""

    @abstractmethod
    def command(self) -> list[str]: ...

    def prepare(self) -> None:
        """Before its first start. `data` stands in its place only when it is whole."""
        self.data.mkdir()

    @abstractmethod
    def greet(self) -> None:
        """Raises anything until it serves; makes its database the first time."""

    def make_data(self, command: list[str], option: str) -> None:
        """By a program that is told with `option` where, and may be interrupted."""
        fresh = self.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        with self.log.open("ab") as output:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            # From where it stands: mariadb-install-db cannot read a path with blanks.
            environment = {**os.environ, **self.environment}
            command = [*command, f"{option}=./fresh"]
            subprocess.run(command, cwd=self.folder, env=environment, check=True, **pipes, **self.runs_as)
        fresh.rename(self.data)


def write_secret(path: Path, text: str) -> None:
    """For its owner only, and whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.rename(path)
