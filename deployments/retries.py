"""How shards are tried again, as whoever asks for a retry says it."""

from typing import Any, Literal

from collectors.models import ShardRetry


def policy_of(
    own: ShardRetry,
    max_retries: int | None,
    interval: float | None,
    backoff: Literal["fixed", "exponential"] | None,
) -> ShardRetry | None:
    """The collection's `own`, with what is said otherwise; None when nothing is."""
    said: dict[str, Any] = {}
    if max_retries is not None:
        said["attempts"] = max_retries + 1
    if interval is not None:
        said |= {"initial": interval, "maximum": max(own.maximum, interval)}
    said |= {"backoff": backoff} if backoff else {}
    return own.model_copy(update=said) if said else None
