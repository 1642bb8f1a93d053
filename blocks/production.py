"""What the production profile refuses: passwords that everybody knows, and words that everybody on the way can read."""

from collections.abc import Iterator
from ipaddress import ip_address

from blocks.addresses import ROLES, Parts, parts_of
from blocks.settings import DERIVED, PRODUCTION, Settings
from collectors.errors import Misconfigured
from collectors.language import spoken

SHORTEST_KEY = 32
DEFAULT_PASSWORDS = ("guest", "root", "admin", "password", "secret", "changeme", "change-me", "collect", "test")
ENCRYPTED_SCHEMES = ("mongodb+srv", "rediss", "amqps")
ENCRYPTED_BY = {"metadata": ("ssl_ca", "ssl_capath"), "documents": ("tls", "ssl")}
ENCRYPT = {
    "metadata": "?ssl_ca=FILE",
    "documents": "&tls=true&tlsCAFile=FILE",
    "cache": "rediss://...?ssl_ca_certs=FILE",
    "queue": "amqps://...?cafile=FILE",
}
CLIENT_CERTIFICATES = ("ssl_cert", "tlscertificatekeyfile", "ssl_certfile", "certfile")
OFF = ("", "0", "false", "no", "off", "none", "optional")
# With these a driver takes any certificate, or one of any host. Those on the left by being off, the others by being on.
CHECKS = ("ssl_check_hostname", "ssl_cert_reqs")
NO_CHECKS = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames", "no_verify_ssl")


def refuse_unsafe(settings: Settings) -> None:
    """Raises Misconfigured with all that the profile does not allow; only production forbids anything."""
    reasons = [f"{role}: {reason}" for role, reason in refusals(settings)]
    if reasons:
        raise Misconfigured(
            "the production profile refuses this: {reasons}",
            "Change it, or set COLLECT_PROFILE=development where this is no production.",
            code="COL-0692",
            reasons="; ".join(reasons),
        )


def refusals(settings: Settings) -> Iterator[tuple[str, str]]:
    """Whose fault, and what to do about it."""
    if settings.profile != PRODUCTION or settings.addresses is None:
        return
    for role in ROLES:
        parts = parts_of(settings.addresses[role])
        for reason in (*_known_to_everybody(parts), *_readable_on_the_way(role, parts)):
            yield role, reason
    for id, key in settings.signing_keys.items():
        if id == DERIVED:
            yield "queue", spoken("no key signs its messages; set COLLECT_SIGNING_KEYS to id:secret")
        elif len(key) < SHORTEST_KEY:
            yield "queue", spoken("the signing key {id} has less than {count} characters", id=id, count=SHORTEST_KEY)


def _known_to_everybody(parts: Parts) -> Iterator[str]:
    if not parts.password:
        if not parts.options.keys() & set(CLIENT_CERTIFICATES):
            yield spoken("no password; write that of a user of its own into the address")
    elif parts.password == parts.user or parts.password in DEFAULT_PASSWORDS:
        yield spoken("a password that everybody knows; give the user another one")


def _readable_on_the_way(role: str, parts: Parts) -> Iterator[str]:
    away = [host for host in parts.hosts if not _is_here(host)]
    if not away:
        return
    if not _is_encrypted(role, parts):
        yield spoken("plain text to {host}; encrypt it: {how}", host=away[0], how=ENCRYPT[role])
    elif careless := [name for name, value in parts.options.items() if _skips_checks(name, value)]:
        yield spoken("a certificate is not checked; leave out {options}", options=", ".join(careless))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_encrypted(role: str, parts: Parts) -> bool:
    options = (parts.options.get(name, "") for name in ENCRYPTED_BY.get(role, ()))
    return parts.scheme in ENCRYPTED_SCHEMES or any(each.lower() not in OFF for each in options)


def _skips_checks(name: str, value: str) -> bool:
    is_off = value.lower() in OFF
    return (name in CHECKS and is_off) or (name in NO_CHECKS and not is_off)
