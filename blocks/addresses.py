"""Where the servers of the full stack are: four addresses, checked before anything is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from collectors.errors import Misconfigured
from collectors.language import spoken

EXAMPLES = {
    "metadata": "mysql+pymysql://user:password@host:3306/database",
    "documents": "mongodb://user:password@host:27017/database?replicaSet=rs0",
    "cache": "redis://:password@host:6379/0",
    "queue": "amqp://user:password@host:5672/vhost",
}
ROLES = tuple(EXAMPLES)
MYSQL = "mysql+pymysql"
SCHEMES = {
    "metadata": {MYSQL: MYSQL, "mysql": MYSQL, "mariadb": MYSQL, "mariadb+pymysql": MYSQL},
    "documents": {"mongodb": "mongodb", "mongodb+srv": "mongodb+srv"},
    "cache": {"redis": "redis", "rediss": "rediss"},
    "queue": {"amqp": "amqp", "amqps": "amqps"},
}
# Its driver would stumble over any other one, with every command.
MYSQL_OPTIONS = ("charset", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_check_hostname")


@dataclass(frozen=True)
class Addresses:
    """URLs as their drivers take them, with their secrets, which are in no repr; `shown` is for people."""

    metadata: str = field(repr=False)
    documents: str = field(repr=False)
    cache: str = field(repr=False)
    queue: str = field(repr=False)

    def __getitem__(self, role: str) -> str:
        return getattr(self, role)


@dataclass(frozen=True, slots=True)
class Parts:
    """A URL taken apart and decoded, its options in lower case. One of MongoDB may name several hosts."""

    scheme: str
    user: str
    password: str = field(repr=False)
    hosts: tuple[str, ...]
    path: str
    options: Mapping[str, str] = field(repr=False)


def addresses(given: Mapping[str, str]) -> Addresses:
    """All four, or Misconfigured."""
    missing = [role for role in ROLES if not given.get(role)]
    if missing:
        raise Misconfigured(
            "the full stack needs four addresses; missing: {missing}",
            "Give all of them: collect storage set METADATA DOCUMENTS CACHE QUEUE, or by {variables}",
            code="COL-0690",
            missing=", ".join(missing),
            variables=", ".join(f"COLLECT_{role.upper()}" for role in ROLES),
        )
    return Addresses(**{role: checked(role, given[role]) for role in ROLES})


def checked(role: str, url: str) -> str:
    """The URL as its driver takes it. Raises Misconfigured, and never repeats what may hold a password."""
    try:
        parts = parts_of(url)
    except ValueError:
        why = spoken("it is no URL, or its port is no number; in a password @ is written %40, / %2F and : %3A")
        raise _unfit(role, why) from None
    if why := _fault(role, parts):
        raise _unfit(role, why)
    return SCHEMES[role][parts.scheme] + url.strip()[len(parts.scheme) :]


def parts_of(url: str) -> Parts:
    """Raises ValueError."""
    found = urlsplit(url)
    user, _, hosts = found.netloc.rpartition("@")
    name, _, password = user.partition(":")
    if not url.isprintable() or "@" in found.path or found.fragment:
        raise ValueError("a character that has to be written otherwise")
    names = tuple(_host(each) for each in hosts.split(","))
    options = {name.lower(): value for name, value in parse_qsl(found.query, keep_blank_values=True)}
    return Parts(found.scheme, unquote(name), unquote(password), names, found.path.removeprefix("/"), options)


def shown(url: str) -> str:
    """Without the password, nor options, which may hold secrets too."""
    found = urlsplit(url)
    user, at, hosts = found.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    return found._replace(netloc=f"{name}{colon and ':***'}{at}{hosts}", query="").geturl()


def _host(name_and_port: str) -> str:
    found = urlsplit(f"//{name_and_port}")
    if found.port == 0:
        raise ValueError("no port")
    return found.hostname or ""


def _fault(role: str, parts: Parts) -> str:
    if parts.scheme not in SCHEMES[role]:
        return spoken("it does not begin with {schemes}", schemes=", ".join(f"{each}://" for each in SCHEMES[role]))
    if not all(parts.hosts):
        return spoken("it names no host")
    if len(parts.hosts) > 1 and role != "documents":
        return spoken("it names several hosts")
    if role == "queue" and not parts.path:
        return spoken("it has no virtual host in its path; the one that is called / is written %2F")
    if not parts.path or "/" in parts.path or (role == "cache" and not parts.path.isdecimal()):
        return spoken("it has no database in its path")
    if role == "metadata" and (others := parts.options.keys() - set(MYSQL_OPTIONS)):
        known = ", ".join(MYSQL_OPTIONS)
        return spoken("its option {other} is none of {known}", other=min(others), known=known)
    return ""


def _unfit(role: str, why: str) -> Misconfigured:
    return Misconfigured(
        "the address of {role} cannot be used: {why}",
        "Write it like {example}",
        code="COL-0691",
        role=role,
        why=why,
        example=EXAMPLES[role],
    )
