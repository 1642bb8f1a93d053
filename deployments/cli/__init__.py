"""The command `collect`. Commands are named here and imported when they are called, so that help answers at once."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter

from blocks.settings import language
from collectors.errors import CollectError, Misconfigured, Refused, Unreachable
from collectors.language import LANGUAGE, spoken

COMMANDS = {
    "init": ("starting:init", "Write a collection file to begin with, each key explained."),
    "try": ("trying:try_", "Fetch one page of each stage and show how it would be mapped; nothing is stored."),
    "plan": ("planning:plan", "Ask the source how much there is and show how a run would be cut; nothing is stored."),
    "run": ("running:run", "Collect a collection: a YAML file, or the name of a known one."),
    "pause": ("controlling:pause", "Pause a run, or some of its shards, until they are resumed."),
    "resume": ("controlling:resume", "Go on with a run, or some of its shards, from their last checkpoints."),
    "retry": ("controlling:retry", "Do over what failed in a run, some of its shards, or all of it."),
    "cancel": ("controlling:cancel", "Give up a run, or some of its shards, for good."),
    "load": ("loading:load", "Load what runs publish into the stores; for the full stack."),
    "status": ("looking:status", "Show runs, newest first, or one run or shard."),
    "shards": ("looking:shards", "Show the shards of a run."),
    "quarantine": ("looking:quarantine", "Show the records that were refused, and why."),
    "errors": ("explaining:errors", "Show what went wrong, a line for each cause, and what to do."),
    "list": ("listing:list_", "List the known collections."),
    "register": ("registering:register", "Put the definitions of collection files in force, with their schedules."),
    "unregister": ("registering:unregister", "Take a collection out of force; what it holds stays."),
    "apply": ("registering:apply", "Make a folder of collection files the truth, and report what differs."),
    "versions": ("versioning:versions", "List the versions of a definition, and what changed between them."),
    "rollback": ("versioning:rollback", "Put an older version of a definition in force again."),
    "schedule": ("scheduling:schedule", "Show when collections are due, and switch that on and off."),
    "tree": ("browsing:tree", "Show the directories of a collection and how many cases they hold."),
    "search": ("searching:search", "Find directories and cases by the words in their names and texts."),
    "show": ("showing:show", "Show one record, and the run, shard and page it came from."),
    "history": ("looking_back:history", "Show what a record was: each version that was replaced, and the present one."),
    "diff": ("looking_back:diff", "Show what was added, changed, moved and deleted between two runs."),
    "export": ("browsing:export", "Write every live record of a collection, one JSON object a line."),
    "collectors": ("sources:collectors", "List the kinds of sources that can be collected, or show one."),
    "doctor": ("doctoring:doctor", "Check everything the platform needs, and repair what can be repaired safely."),
    "sample": ("serving:sample", "Serve a made-up test-management system to try things on."),
    "serve": ("service:serve", "Serve import, tree, search and runs over HTTP, and carry the runs out."),
    "keys": ("keys:keys", "Make, list, rotate and revoke keys of the service."),
    "audit": ("audit:audit", "Show who did what, and verify that nothing of it was changed."),
    "up": ("serving:up", "Start this folder's Prefect server; it stays until collect down."),
    "down": ("serving:down", "End this folder's Prefect server."),
    "storage": ("storage:storage", "Say where the stores are, check them, make their tables."),
    "dev-servers": ("dev_servers:dev_servers", "Start and end private MariaDB, MongoDB, Redis and RabbitMQ servers."),
    "reconcile": ("reconciling:reconcile", "Compare rows, documents and cache of a collection."),
    "config": ("configuring:config", "Show and change settings while everything runs, without a restart."),
    "watermark": ("marks:watermark", "Show, set or reset up to which time of its source a collection is complete."),
    "epoch": ("marks:epoch", "Begin a collection anew after its source was restored from a backup."),
    "ledger": ("ledgers:ledger", "Show how far the batches of a run have come."),
    "completion": ("completing:completion", "Print a script that makes a shell complete commands and options."),
}
EXIT_CODES: dict[type[CollectError], int] = {Misconfigured: 2, Refused: 4, Unreachable: 5}

app = App(
    name="collect",
    version=lambda: version("platform-collect"),
    help="Collect data at scale that people can trust.",
    help_format="plaintext",
    help_on_error=False,
    default_parameter=Parameter(negative="", show_default=False),
)
for _name, (_target, _help) in COMMANDS.items():
    app.command(f"deployments.cli.{_target}", name=_name, help=_help)


def _called() -> int | None:
    typed = sys.argv[1:]
    if typed and typed[0] in COMMANDS:
        app[typed[0]].help = None  # its own help is its docstring: the line above stands for it in the list alone
    try:
        return app(typed, print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        command = " ".join(["collect", *(error.command_chain or ())])
        raise Misconfigured(
            "{problem}", "See what there is: {command} --help", code="COL-0201", problem=str(error), command=command
        ) from None


def _say(error: CollectError) -> None:
    from deployments.cli.output import say

    say(spoken("error {code}: {what}", code=error.code, what=error.what))
    if error.remedy:
        say(spoken("  fix   {remedy}", remedy=error.remedy))


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 refused, 5 server unreachable, 130 interrupted."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the process lives
        getattr(sys, name).reconfigure(errors="backslashreplace")
    LANGUAGE.set(language())
    try:
        sys.exit(_called())
    except CollectError as error:
        _say(error)
        sys.exit(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None:
            what, remedy = "{file} cannot be used ({why})", "Check what it is, and its rights: collect doctor"
            _say(CollectError(what, remedy, code="COL-0252", file=error.filename, why=error.strerror))
            sys.exit(1)
        what, remedy = "the output cannot be written ({why})", "Make room where it goes, or send it elsewhere."
        _say(CollectError(what, remedy, code="COL-0251", why=error.strerror or error))
        os._exit(1)  # an output that cannot be written would fail once more when Python flushes it at its end
    except KeyboardInterrupt:
        sys.exit(130)
