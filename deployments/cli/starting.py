"""`init`: a collection file to begin with."""

import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.settings import secret
from collectors import registry
from collectors.errors import Misconfigured
from collectors.language import spoken
from collectors.models import LONGEST_NAME, Retention, Retry, ShardRetry, Strategy
from collectors.scheduling import Triggers
from deployments.cli.output import say, show
from deployments.parameters import Key, keys_of, line, scalar, source_lines


def init(
    file: Annotated[Path, Parameter(show_default=True)] = Path("collection.yaml"),
    /,
    *,
    collector: Annotated[str, Parameter(show_default=True)] = "testrail",
    force: bool = False,
) -> int:
    """Write a collection file to begin with, each key explained.

    Examples
        $ collect init tests.yaml
        $ collect init kiwi.yaml --collector kiwi

    Parameters
    ----------
    file
        the file to write
    collector
        the kind of source, as collect collectors lists them
    force
        write over a file that is there
    """
    keys = keys_of(registry.load(collector).Parameters, collector)
    _write(file, _text(file, collector, keys), force)
    show(spoken("{file} is written; put in your source's address and ids", file=file))
    for command in _next(file, keys):
        say("  {command}", command=command)
    return 0


def _write(file: Path, text: str, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise Misconfigured(
            "{file} is there already",
            "Name another file, or write over it: collect init {quoted} --force",
            code="COL-0240",
            file=file,
            quoted=shlex.quote(str(file)),
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        missing = isinstance(error, FileNotFoundError)
        raise Misconfigured(
            "{file} cannot be written ({why})",
            "Its folder is missing: mkdir -p {folder}" if missing else "Name another file.",
            code="COL-0241",
            file=file,
            why=why,
            folder=shlex.quote(str(file.parent)),
        ) from error


def _text(file: Path, collector: str, keys: list[Key]) -> str:
    nested = {"retry": Retry, "shard_retry": ShardRetry}
    strategy = [key for key in keys_of(Strategy) if key.key not in nested]
    lines = [
        spoken("# What to collect, from where, and how gently. Lines that begin with # may be left out."),
        spoken(
            "# A value written env:NAME is read from that environment variable when it is needed, and kept nowhere."
        ),
        f"name: {scalar(_name(file))}",
        f"collector: {scalar(collector)}",
        *source_lines(keys),
        "# strategy:",
        *(line("#   ", key) for key in strategy),
        *chain.from_iterable(
            [f"#   {name}:", *(line("#     ", key) for key in keys_of(model))] for name, model in nested.items()
        ),
        "# retention:",
        *(line("#   ", key) for key in keys_of(Retention)),
        "# schedule:",
        '#   cron: "0 2 * * *"',
        "#   timezone: UTC",
        "# triggers:",
        *(line("#   ", key) for key in keys_of(Triggers) if key.key != "blackout"),
    ]
    return "\n".join([*lines, ""])


def _name(file: Path) -> str:
    """The file's name as one word."""
    return re.sub(r"[\s/\\:]+", "-", file.stem)[:LONGEST_NAME].strip("-") or "tests"


def _next(file: Path, keys: list[Key]) -> list[str]:
    """What to type now: the variables first that are not set."""
    names = [key.example.removeprefix(registry.REFERENCE) for key in keys if key.type == "secret" and key.required]
    named = shlex.quote(str(file))
    unset = [f"export {name}=..." for name in names if secret(name) is None]
    return [*unset, *(f"collect {verb} {named}" for verb in ("try", "plan", "run"))]
