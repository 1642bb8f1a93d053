"""`pause`, `resume`, `retry` and `cancel`: what is asked of runs, and of single shards, while they run or have run."""

import shlex
from operator import itemgetter
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from blocks.reports import report
from blocks.settings import Settings
from blocks.sql.control import Subject, refuse
from blocks.sql.database import LONGEST_OUTAGE
from blocks.sql.retrying import Scope
from blocks.stores import Storage, open_storage
from collectors.errors import Misconfigured, Refused
from collectors.models import Collection
from collectors.states import OPEN_RUNS, PAUSING, TO_REST, RunState, ShardState, Verb
from deployments.cli.choosing import parted
from deployments.cli.output import print_json, say
from deployments.cli.running import finish, follow, is_alive, server
from deployments.retries import policy_of
from flows import control

LONGEST_WAIT = 90.0
Wait = Annotated[bool, Parameter(negative="")]


def pause(
    target: str,
    /,
    *more: str,
    reason: str | None = None,
    hard: Annotated[bool, Parameter(negative="")] = False,
    wait: Wait = False,
    json: bool = False,
) -> int:
    """Pause a run, or some of its shards; they stop at their next checkpoint, and stay so until they are resumed.

    Examples
        $ collect pause RUN
        $ collect pause RUN/s02 --reason "the source is slow"
        $ collect pause RUN --hard --wait

    Parameters
    ----------
    target
        a run, or a shard as RUN/SHARD
    more
        further ones, each as RUN or RUN/SHARD
    reason
        why; it is shown with the run
    hard
        its process leaves, too: what it takes is free for others, and going on takes as long as a start
    wait
        until whoever works on it has let go
    json
        print an array of objects
    """
    targets = (target, *more)
    return _each(Verb.PAUSE, targets, json, lambda it, of: control.pause(it, *of, reason, hard, _seconds(wait)))


def cancel(target: str, /, *more: str, reason: str | None = None, wait: Wait = False, json: bool = False) -> int:
    """Give up a run, or some of its shards, for good. What was read stays.

    Examples
        $ collect cancel RUN
        $ collect cancel RUN/s02 --reason "not needed"

    Parameters
    ----------
    target
        a run, or a shard as RUN/SHARD
    more
        further ones, each as RUN or RUN/SHARD
    reason
        why; it is shown with the run
    wait
        until whoever works on it has let go
    json
        print an array of objects
    """
    return _each(Verb.CANCEL, (target, *more), json, lambda it, of: control.cancel(it, *of, reason, _seconds(wait)))


def resume(target: str, /, *shards: str, wait: Wait = False, json: bool = False) -> int:
    """Go on with a run, or some of its shards, from their checkpoints: where a process waits for it, or in this one.

    Examples
        $ collect resume RUN
        $ collect resume RUN/s02 --wait

    Parameters
    ----------
    target
        a run, or a shard as RUN/SHARD
    shards
        further shards of that run
    wait
        until what is still being paused has let go
    json
        print the result as one JSON object; an array where another process goes on
    """
    run_id, _ = parted(target)
    targets = [parted(target), *(parted(each if "/" in each else f"{run_id}/{each}") for each in shards)]
    if any(of != run_id for of, _ in targets):
        raise Misconfigured(
            "only shards of one run can be resumed at once", "Name each run in a command of its own.", code="COL-0280"
        )
    settings = Settings.load()
    with open_storage(settings, LONGEST_OUTAGE) as storage:
        catalog = storage.catalog
        row, before = catalog.run(run_id), storage.control.look(run_id)
        for each in filter(itemgetter(1), targets):
            refuse(Verb.RESUME, storage.control.look(*each))
        if row["state"] not in OPEN_RUNS and (over := _over(storage, row, json)) is not None:
            return over
        whole = targets == [(run_id, None)]
        rests = before.led and before.state in (RunState.PAUSED, PAUSING)
        if whole and not rests and is_alive(catalog, run_id):
            return _told([storage.control.look(run_id)], json)
        if row["state"] in OPEN_RUNS:
            found = [control.resume(storage, *of, wait=_seconds(wait)) for of in targets]
            to_rest = storage.control.look(run_id).desired in TO_REST
            if found[0].led or row["awaited"] or to_rest:
                return _told(found, json, of_paused=to_rest)
        api = server(settings)
        return follow(catalog, run_id, run_id, api, json)


def retry(
    target: str,
    /,
    *shards: str,
    scope: Scope | None = None,
    max_retries: Annotated[int | None, Parameter(validator=Number(gte=0, lte=99))] = None,
    interval: Annotated[float | None, Parameter(validator=Number(gt=0, lte=3600))] = None,
    backoff: Literal["fixed", "exponential"] | None = None,
    reason: str | None = None,
    json: bool = False,
) -> int:
    """Do over what failed in a run, some of its shards, or all of it. Failed shards go on from their checkpoints.

    Examples
        $ collect retry RUN
        $ collect retry RUN s02 --max-retries 2 --interval 10
        $ collect retry RUN --scope all --json

    Parameters
    ----------
    target
        the run, as collect status shows it; or a shard of it as RUN/SHARD
    shards
        only these, as collect shards shows them; what was complete is read anew
    scope
        failed: what failed; all: everything, read anew; specific: the shards that are named
    max_retries
        how often a shard that fails again is tried once more, instead of what its collection says
    interval
        seconds before it is
    backoff
        whether that pause stays or is doubled each time
    reason
        why; it is shown with what is done over
    json
        print the result as one JSON object
    """
    run_id, first = parted(target)
    named = (*([first] if first else []), *(each.removeprefix(f"{run_id}/") for each in shards))
    scope = scope or ("specific" if named else "failed")
    if bool(named) != (scope == "specific"):
        raise Misconfigured(
            "shards are named for the scope specific, and only for that",
            "Name them, or leave them out: collect retry {run} --scope {scope}",
            code="COL-0278",
            run=run_id,
            scope="failed",
        )
    settings = Settings.load()
    with open_storage(settings, LONGEST_OUTAGE) as storage:
        catalog = storage.catalog
        own = Collection.model_validate_json(catalog.run(run_id)["definition"]).strategy.shard_retry
        policy = policy_of(own, max_retries, interval, backoff)
        led, planned = storage.control.look(run_id).led, catalog.run(run_id)["planned"]
        again = storage.control.retry(run_id, scope, named, policy, reason=reason)
        if scope == "all" or not planned:
            say("run {run} is planned and read anew", run=run_id)
        elif not again:
            say("all of run {run} is read: it is concluded again", run=run_id)
        else:
            say("{count} shards of run {run} are done over", count=len(again), run=run_id)
        if led:
            return _told([storage.control.look(run_id, each) for each in again], json)
        return follow(catalog, run_id, run_id, server(settings), json)


def _over(storage: Storage, row: dict[str, Any], json: bool) -> int | None:
    """What a run that has ended is answered with; None when something of it is left to be read."""
    catalog, run_id = storage.catalog, row["run_id"]
    if row["state"] == RunState.COMPLETED:
        say("run {run} is complete already", run=run_id)
    elif row["state"] == RunState.CANCELLED:
        raise Refused(
            "run {run} was cancelled ({reason})",
            "Begin anew: collect run {collection}",
            code="COL-0403",
            run=run_id,
            reason=row["reason"] or "-",
            collection=row["collection"],
        )
    elif row["state"] == RunState.PARTIALLY_COMPLETED and _all_read(storage, run_id):
        anew = shlex.join(["collect", "run", row["collection"]])
        say("nothing is left to read in run {run}; read anew with: {command}", run=run_id, command=anew)
    else:
        return None
    return finish(report(catalog, run_id, with_delays=True), None, json)


def _all_read(storage: Storage, run_id: str) -> bool:
    return all(shard["state"] != ShardState.FAILED for shard in storage.catalog.shards(run_id))


def _each(verb: Verb, targets: tuple[str, ...], json: bool, do: Any) -> int:
    """All of them are looked at before the first is touched."""
    of = [parted(each) for each in targets]
    with open_storage(Settings.load()) as storage:
        for each in of:
            refuse(verb, storage.control.look(*each))
        return _told([do(storage, each) for each in of], json)


def _told(found: list[Subject], json: bool, of_paused: bool = False) -> int:
    if json:
        print_json(
            [{name: getattr(each, name) for name in ("run_id", "shard_id", "state", "reason")} for each in found]
        )
        return 0
    for each in found:
        if each.reason:
            say("{name} is {state} ({reason})", name=each.name, state=each.state, reason=each.reason)
        else:
            say("{name} is {state}", name=each.name, state=each.state)
    if of_paused:
        say("its run is paused as a whole; go on with it: collect resume {run}", run=found[0].run_id)
    return 0


def _seconds(wait: bool) -> float:
    return LONGEST_WAIT if wait else 0.0
