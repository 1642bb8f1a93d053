"""What was just asked, as the next command."""

import shlex
from collections.abc import Sequence

from collectors.models import Collection
from collectors.registry import REFERENCE, load
from deployments.parameters import keys_of


def command(verb: str, collection: str, overrides: Sequence[str], definition: Collection, tenant: str) -> str:
    """`collect verb` for what was just asked, as it is typed; secrets are left out, for a log may keep it."""
    keys = keys_of(load(definition.collector).Parameters)
    plain = {f"source.{key.key}" for key in keys if key.type not in ("secret", "mapping")}
    whose = [] if tenant == "default" else ["--tenant", tenant]
    settings = [part for each in overrides for part in ("--set", _without_secret(each, plain))]
    return shlex.join(["collect", verb, collection, *settings, *whose])


def _without_secret(override: str, plain: set[str]) -> str:
    key, _, value = override.partition("=")
    hidden = key.partition(".")[0] == "source" and key not in plain and not value.startswith(REFERENCE)
    return f"{key}=..." if hidden else override
