"""Schedules as people see them: on the command line, and over HTTP."""

import time
from typing import Any

from blocks.reports import moment
from collectors.language import LANGUAGE, spoken
from collectors.scheduling import Schedule

LONG_AFTER = 180.0  # seconds in which both schedulers have had their turn


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A schedule as it is printed; times are ISO 8601."""
    rule = rule_of(row)
    overdue = row["active"] and row["next_at"] and row["next_at"] < (time.time() - LONG_AFTER) * 1_000_000
    why = row["why"] if row["active"] else row["reason"]
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
        "reason": spoken("overdue: nobody carries it out; collect serve does") if overdue else why,
    }


def rule_of(row: dict[str, Any]) -> Schedule:
    return Schedule.model_validate_json(row["rule"])
