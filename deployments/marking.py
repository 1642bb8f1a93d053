"""Watermarks as people write and read them."""

from datetime import UTC, datetime
from typing import Any

from blocks.reports import moment
from blocks.sql.watermarks import Mark
from blocks.stores import Storage
from collectors.errors import Misconfigured
from deployments.definitions import known
from deployments.moments import time_of


def mark_of(name: str, mark: Mark) -> dict[str, Any]:
    """The shape of `collect watermark show --json`, and of the service."""
    return {
        "collection": name,
        "watermark": moment(mark.value),
        "epoch": mark.epoch,
        "moved_by": mark.moved_by,
        "moved_at": moment(mark.moved_at),
    }


def set_to(storage: Storage, tenant: str, name: str, time: str) -> None:
    """Raises Misconfigured for a time without a zone, or in the future; Refused while a run is under way."""
    known(name, storage.registry, tenant)
    storage.watermarks.set(tenant, name, int(_time(time).timestamp() * 1_000_000))


def _time(text: str) -> datetime:
    found = time_of(text)
    if found > datetime.now(UTC):
        raise Misconfigured(
            "the watermark {text} lies in the future: whatever changes until then would be missed",
            "Set one that has passed, or take it away: collect watermark reset NAME",
            code="COL-0274",
            text=f"{text:.60}",
        )
    return found
