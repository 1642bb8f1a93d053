"""`collectors` and `collectors show`: the kinds of sources, and what each wants to be told."""

from dataclasses import asdict
from typing import Any

from cyclopts import App

from collectors import registry
from collectors.errors import CollectError, in_a_line
from collectors.language import spoken
from deployments.cli.output import print_columns, print_json, print_rows, say
from deployments.parameters import Key, keys_of, scalar, source_lines

collectors = App(name="collectors")


@collectors.default
def list_all(*, json: bool = False) -> int:
    """List the kinds of sources that can be collected, or show one.

    Examples
        $ collect collectors
        $ collect collectors show testrail

    Parameters
    ----------
    json
        print an array of objects
    """
    rows = [_collector(name) for name in registry.names()]
    columns = {
        "COLLECTOR": "name",
        "WHAT": lambda each: each["error"] or each["summary"],
        "SOURCE KEYS": lambda each: ", ".join(each["parameters"]),
    }
    print_rows(rows, columns, json)
    return 0


def _collector(name: str) -> dict[str, Any]:
    try:
        found = registry.load(name)
    except CollectError as error:
        return {"name": name, "summary": None, "parameters": [], "error": in_a_line(str(error))}
    return {
        "name": name,
        "summary": _summary(found),
        "parameters": list(found.Parameters.model_fields),
        "error": None,
    }


def _summary(found: Any) -> str:
    return (found.__doc__ or "").partition("\n")[0]


@collectors.command
def show(name: str, /, *, json: bool = False) -> int:
    """Show what a collector wants to be told about its source, and a sample of it.

    Examples
        $ collect collectors show testrail
        $ collect collectors show kiwi --json

    Parameters
    ----------
    name
        the collector, as collect collectors lists it
    json
        print one JSON object
    """
    found = registry.load(name)
    keys = keys_of(found.Parameters, name)
    sample = "\n".join(["name: tests", f"collector: {scalar(name)}", *source_lines(keys)])
    if json:
        parameters = [asdict(key) for key in keys]
        print_json({"name": name, "summary": _summary(found), "parameters": parameters, "sample": sample})
        return 0
    say("{name}: {summary}", name=name, summary=_summary(found))
    print_columns(["KEY", "TYPE", "REQUIRED", "DEFAULT", "EXAMPLE", "DESCRIPTION"], [_row(key) for key in keys])
    print(f"\n{sample}")
    say("write it into a file: collect init FILE --collector {name}", name=name)
    return 0


def _row(key: Key) -> list[Any]:
    default = "" if key.default is None else scalar(key.default)
    required = spoken("yes") if key.required else spoken("no")
    return [key.key, spoken(key.type), required, default, scalar(key.example), spoken(key.description)]
