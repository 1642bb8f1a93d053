"""`search`: records by the words in their names and texts."""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from blocks import views
from blocks.settings import Settings
from blocks.stores import open_storage
from collectors.models import Hit
from collectors.paths import escaped
from collectors.terms import AFTER, BEFORE
from deployments.cli.choosing import MOST, Limit, meant
from deployments.cli.output import coloured, print_json, say, visible

RED = "31"


def search(
    *words: str,
    collection: str | None = None,
    under: str | None = None,
    kind: Literal["directory", "case"] | None = None,
    limit: Limit = 20,
    tenant: str = "default",
    json: bool = False,
) -> int:
    """Find directories and cases by the words in their names, descriptions, preconditions, steps and expected results.

    Every word has to occur: Chinese anywhere, an English word or its beginning. Names come first. What is stored is
    searched, as the source said it last.

    Examples
        $ collect search 部分退款 原单
        $ collect search refund --collection demo --kind case --json

    Parameters
    ----------
    words
        what to look for; nothing in it has a special meaning
    collection
        only in this collection
    under
        only the directory of this path, as collect tree --json has it, and what is below it
    kind
        only directories, or only cases
    limit
        the most to show
    tenant
        whose records
    json
        print an array of objects
    """
    with open_storage(Settings.load()) as storage:
        if collection is not None:
            meant(storage, collection, tenant)
        began = time.perf_counter()
        where = {"collection": collection, "kind": kind, "under": under}
        found = views.search(storage, tenant, " ".join(words), where, limit + 1)
        took = (time.perf_counter() - began) * 1000
        under_nothing = not found and under is not None and not storage.rows.holds(tenant, collection, under)
    hits = found[:limit]
    if json:
        print_json([asdict(hit) for hit in hits])
    else:
        _print(hits)
    if len(found) > limit:
        whose = None if tenant == "default" else tenant
        more = _more(words, min(10 * limit, MOST), collection=collection, under=under, kind=kind, tenant=whose)
        say("{count} hits in {took:.0f} ms. More: {command}", count=limit, took=took, command=more)
    else:
        say("{count} hits in {took:.0f} ms, no more", count=len(hits), took=took)
    if under_nothing:
        say("nothing hangs below {under}; paths: {command}", under=under, command=f"{_tree(collection, tenant)} --json")
    elif not found:
        say("try fewer or other words; what there is: {command}", command=_tree(collection, tenant))
    return 0


def _print(hits: Sequence[Hit]) -> None:
    gap = "  " if sys.stdout.isatty() else "\t"
    for hit in hits:
        snippet = visible(" ".join(hit.snippet.split()))
        marked = re.sub(f"{BEFORE}.*?{AFTER}", lambda found: coloured(found[0], RED), snippet)
        print(gap.join([visible(f"{hit.collection} {hit.kind} {hit.id}"), visible(_place(hit)), marked]))


def _place(hit: Hit) -> str:
    """Its path; only what is above it where the snippet is of its name."""
    path = hit.path or ""
    return path.removesuffix(escaped(hit.name)) if hit.field == "name" else path


def _tree(collection: str | None, tenant: str) -> str:
    whose = [] if tenant == "default" else ["--tenant", tenant]
    return shlex.join(["collect", "tree", *([collection] if collection else []), *whose])


def _more(words: Sequence[str], limit: int, **options: str | None) -> str:
    given = [f"--{name}={value}" for name, value in options.items() if value] + [f"--limit={limit}"]
    optionlike = any(word.startswith("-") for word in words)
    return shlex.join(["collect", "search", *([*given, "--", *words] if optionlike else [*words, *given])])
