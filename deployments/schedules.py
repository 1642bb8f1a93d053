"""Schedules as people see them: on the command line, and over HTTP."""

from typing import Any

from blocks.reports import moment
from collectors.language import LANGUAGE
from collectors.scheduling import Schedule


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A schedule as it is printed; times are ISO 8601."""
    rule = rule_of(row)
    last = row["outcome"] and f"{moment(row['due_at'])} {row['outcome']}"
    return {
        "collection": row["collection"],
        "slug": row["slug"],
        "active": bool(row["active"]),
        "next": moment(row["next_at"]) if row["active"] else None,
        "last": last,
        "run_id": row["run_id"],
        "rule": rule.rule,
        "timezone": rule.timezone,
        "words": rule.words(LANGUAGE.get()),
        "reason": row["reason"] if not row["active"] else row["why"],
    }


def rule_of(row: dict[str, Any]) -> Schedule:
    return Schedule.model_validate_json(row["rule"])
