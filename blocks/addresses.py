"""Where the servers of the full stack are: four addresses, checked before anything is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from collectors.errors import Misconfigured

EXAMPLES = {
    "metadata": "mysql+pymysql://user:password@host:3306/database",
    "documents": "mongodb://user:password@host:27017/database?replicaSet=rs0",
    "cache": "redis://:password@host:6379/0",
    "queue": "amqp://user:password@host:5672/vhost",
}
SCHEMES = {
    "metadata": {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql", "mysql+pymysql": "mysql+pymysql"},
    "documents": {"mongodb": "mongodb", "mongodb+srv": "mongodb+srv"},
    "cache": {"redis": "redis", "rediss": "rediss"},
    "queue": {"amqp": "amqp", "amqps": "amqps"},
}
ROLES = tuple(EXAMPLES)
LOOPBACK = ("localhost", "::1")
ENCRYPTED_SCHEMES = ("mongodb+srv", "rediss", "amqps")
ENCRYPTED_BY = {"metadata": ("ssl_ca", "ssl"), "documents": ("tls", "ssl")}
TLS_REMEDIES = {
    "metadata": "?ssl_ca=FILE",
    "documents": "&tls=true&tlsCAFile=FILE",
    "cache": "rediss://...?ssl_ca_certs=FILE",
    "queue": "amqps://...?cafile=FILE",
}


@dataclass(frozen=True)
class Addresses:
    """URLs with their secrets, which are in no repr; `shown` is for people."""

    metadata: str = field(repr=False)
    documents: str = field(repr=False)
    cache: str = field(repr=False)
    queue: str = field(repr=False)

    def __getitem__(self, role: str) -> str:
        return getattr(self, role)


def addresses(given: Mapping[str, str]) -> Addresses:
    """All four, or Misconfigured."""
    missing = [role for role in ROLES if not given.get(role)]
    if missing:
        raise Misconfigured(
            "the full stack needs four addresses; missing: {missing}",
            "Give all of them: collect storage set METADATA DOCUMENTS CACHE QUEUE",
            code="COL-0690",
            missing=", ".join(missing),
        )
    return Addresses(**{role: checked(role, given[role]) for role in ROLES})


def checked(role: str, url: str) -> str:
    """The URL as its driver takes it. Raises Misconfigured, and never repeats what may hold a password."""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise _unfit(role, "it is no URL, or its port is no number") from None
    scheme = SCHEMES[role].get(parts.scheme)
    if scheme is None:
        raise _unfit(role, f"it begins with {parts.scheme or 'nothing'!r}")
    if not parts.hostname or not port_is_right:
        raise _unfit(role, "it names no host")
    path = parts.path.removeprefix("/")
    if not path or "/" in path or (role == "cache" and not path.isdigit()):
        raise _unfit(role, "it has no database in its path")
    return parts._replace(scheme=scheme).geturl()


def shown(url: str) -> str:
    """Without the password, nor options, which may hold secrets too."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}:***@" if parts.password else f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}{host}", query="").geturl()


def _unfit(role: str, why: str) -> Misconfigured:
    return Misconfigured(
        "the address of {role} cannot be used: {why}",
        "Write it like {example}",
        code="COL-0691",
        role=role,
        why=why,
        example=EXAMPLES[role],
    )


def refuse_unsafe(where: Addresses, has_keys: bool) -> None:
    """What the production profile does not allow. Raises Misconfigured with all of it."""
    reasons = [f"{role}: {reason}" for role in ROLES for reason in _unsafe(role, where[role])]
    if not has_keys:
        reasons.append("COLLECT_SIGNING_KEYS: not set")
    if reasons:
        raise Misconfigured(
            "the production profile refuses this: {reasons}",
            "Change it, or set COLLECT_PROFILE=development where this is no production.",
            code="COL-0692",
            reasons="; ".join(reasons),
        )


def _unsafe(role: str, url: str) -> list[str]:
    parts = urlsplit(url)
    reasons = []
    if not parts.password or parts.password == parts.username:
        reasons.append("no password, or a default one")
    is_here = parts.hostname in LOOPBACK or str(parts.hostname).startswith("127.")
    options = parse_qs(parts.query)
    is_encrypted = parts.scheme in ENCRYPTED_SCHEMES or any(
        options.get(name, ["false"])[-1].lower() != "false" for name in ENCRYPTED_BY.get(role, ())
    )
    if not is_here and not is_encrypted:
        reasons.append(f"plain text to another host; encrypt it: {TLS_REMEDIES[role]}")
    return reasons
