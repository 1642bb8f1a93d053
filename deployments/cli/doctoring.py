"""`doctor`: everything the platform needs, checked; each check is bounded, and a broken one is a finding too."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from blocks.settings import Settings
from collectors.errors import in_a_line
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
    """Each finding, and whether it was repaired. A check finds one thing at most that can be repaired."""
    for check in CHECKS:
        found = list(_guarded(check, settings))
        broken = next((each for each in found if each.repair), None)
        if fix and broken:
            yield from _repaired(broken, _guarded(check, settings))
        else:
            yield from ((each, False) for each in found)


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except PermissionError:
        yield Finding("skip", check.__name__, spoken("{check}: not looked at for want of rights", check=check.__name__))
    except Exception as error:  # noqa: BLE001 - whatever is broken here is what the doctor was called for
        what = spoken("{check} could not be checked ({why})", check=check.__name__, why=f"{error!r:.300}")
        yield Finding("fail", check.__name__, what)


def _repaired(broken: Finding, after: Iterator[Finding]) -> Iterator[tuple[Finding, bool]]:
    """What is found `after` the repair: that it went through does not say that it helped."""
    why = spoken("it did not help")
    try:
        broken.repair()
    except Exception as error:  # noqa: BLE001 - see _guarded
        why = in_a_line(str(error))
    for each in after:
        if each.check != broken.check:
            yield each, False
        elif each.state in ("ok", "skip"):
            yield replace(each, fix=broken.fix), True
        else:
            yield replace(each, what=spoken("{what}; the repair failed ({why})", what=each.what, why=why)), False


def _print(finding: Finding, done: bool) -> None:
    after = ""
    if finding.fix:
        after = spoken("   (repaired: {fix})", fix=finding.fix) if done else spoken("   (fix  {fix})", fix=finding.fix)
    print(f"{coloured(f'{finding.state:<6}', COLOURS[finding.state])} {visible(finding.what + after)}")


def _as_json(finding: Finding, done: bool) -> dict[str, Any]:
    return {
        "state": finding.state, "check": finding.check, "what": finding.what, "fix": finding.fix, "repaired": done
    }  # fmt: skip
