"""`doctor`: everything the platform needs, checked; each check is bounded, and a broken one is a finding too."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from blocks.settings import Settings
from collectors.language import spoken
from deployments.cli.output import coloured, print_json, say, visible
from deployments.doctor import machine, network, stores
from deployments.doctor.findings import Finding

CHECKS = (
    machine.versions, machine.home, stores.databases, machine.space, machine.sqlite, machine.terminal,
    stores.search, network.prefect, stores.runs, network.collectors, network.collections,
)  # fmt: skip
COLOURS = {"ok": "32", "warn": "33", "fail": "31", "skip": "2"}


def doctor(*, fix: bool = False, json: bool = False) -> int:
    """Check everything the platform needs, and repair what can be repaired safely.

    Examples
        $ collect doctor
        $ collect doctor --fix
        $ collect doctor --json

    Parameters
    ----------
    fix
        repair what can be repaired without losing data
    json
        print an array of objects
    """
    settings = Settings.load()
    found = []
    for finding, done in _looked(settings, fix):
        found.append(_as_json(finding, done))
        if not json:
            _print(finding, done)
    if json:
        print_json(found)
    counts = Counter(each["state"] for each in found)
    say("problems: {problems}, warnings: {warnings}", problems=counts["fail"], warnings=counts["warn"])
    return 1 if counts["fail"] else 0


def _looked(settings: Settings, fix: bool) -> Iterator[tuple[Finding, bool]]:
    """Each finding, and whether it was repaired."""
    for check in CHECKS:
        for finding in _guarded(check, settings):
            yield _repaired(finding) if fix and finding.repair else (finding, False)


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except PermissionError:
        yield Finding("skip", check.__name__, spoken("{check}: not looked at for want of rights", check=check.__name__))
    except Exception as error:  # noqa: BLE001 - whatever is broken here is what the doctor was called for
        what = spoken("{check} could not be checked ({why})", check=check.__name__, why=f"{error!r:.300}")
        yield Finding("fail", check.__name__, what)


def _repaired(finding: Finding) -> tuple[Finding, bool]:
    try:
        finding.repair()
    except Exception as error:  # noqa: BLE001 - see _guarded
        what = spoken("{what}; the repair failed ({why})", what=finding.what, why=error)
        return replace(finding, what=what), False
    return replace(finding, state="ok"), True


def _print(finding: Finding, done: bool) -> None:
    after = ""
    if finding.fix:
        after = spoken("   (repaired: {fix})", fix=finding.fix) if done else spoken("   (fix  {fix})", fix=finding.fix)
    print(f"{coloured(f'{finding.state:<6}', COLOURS[finding.state])} {visible(finding.what + after)}")


def _as_json(finding: Finding, done: bool) -> dict[str, Any]:
    return {
        "state": finding.state, "check": finding.check, "what": finding.what, "fix": finding.fix, "repaired": done
    }  # fmt: skip
