"""Whether a Prefect server answers: asked without Prefect's client, whose import takes seconds."""

from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

SECONDS_TO_ANSWER = 3.0


def healthy(api: str) -> bool:
    """Whether a Prefect server answers at this API address; it does so while its database keeps others waiting."""
    try:
        return bool(asked(f"{api}/health"))
    except (OSError, ValueError, HTTPException):
        return False


def asked(address: str) -> bytes:
    with build_opener(ProxyHandler({})).open(address, timeout=SECONDS_TO_ANSWER) as answer:
        return answer.read()
