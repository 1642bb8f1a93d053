"""What Prefect's blocks say of the stores: asked without Prefect's client, whose import takes seconds."""

import json
from base64 import b64encode
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from blocks.addresses import ROLES
from collectors.errors import Unreachable

NAME = "collect"
SLUGS = {role: f"collect-{role}" for role in ROLES}
SECONDS_TO_ANSWER = 3.0
LONGEST_REASON = 200


def asked(api: str, credentials: str | None) -> dict[str, str]:
    """The addresses by their roles, and the keys that sign; nothing where there are no such blocks.

    Raises Unreachable: a server that cannot be heard may know of stores that are not those of this folder.
    """
    wanted = {
        "block_documents": {"name": {"any_": [NAME]}},
        "block_types": {"slug": {"any_": [*SLUGS.values()]}},
        "include_secrets": True,
    }
    headers = {"Content-Type": "application/json"}
    if credentials:
        headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
    try:
        request = Request(f"{api}/block_documents/filter", json.dumps(wanted).encode(), headers)
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS_TO_ANSWER) as answer:
            found = {each["block_type"]["slug"]: each["data"] for each in json.load(answer)}
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise Unreachable(
            "where the stores are is not known: the Prefect server at PREFECT_API_URL={api} does not tell ({why})",
            "Start it; or say here where they are: collect storage set, with --embedded for this folder",
            code="COL-0730",
            api=api,
            why=f"{error}"[:LONGEST_REASON],
        ) from None
    return _said(found)


def _said(blocks: dict[str, dict[str, Any]]) -> dict[str, str]:
    data = {role: blocks[slug] for role, slug in SLUGS.items() if slug in blocks}
    # That of the cache is one of prefect-redis, where the address has another name.
    said = {role: each.get("url") or each.get("connection_url") or "" for role, each in data.items()}
    keys = data.get("queue", {}).get("signing_keys")
    return said | ({"signing_keys": keys} if keys else {})
