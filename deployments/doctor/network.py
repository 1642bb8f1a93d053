"""The servers: Prefect's and the sources'. Whether each answers, how soon, and whether its clock agrees with ours."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from blocks.settings import Settings, secret
from collectors import registry
from collectors.errors import CollectError
from collectors.language import spoken
from collectors.models import IMPORT, Collection
from deployments import prefect_server
from deployments.definitions import shipped
from deployments.doctor.findings import Finding
from deployments.doctor.stores import known

if TYPE_CHECKING:
    from httpx import Client

SECONDS_TO_ANSWER = 3.0
SLOW_SECONDS = 1.0
CLOCK_SECONDS = 5.0
LONGEST_BODY = 10_000
PLAIN = {"Accept-Encoding": "identity"}


@dataclass(slots=True)
class Answer:
    """What a server answered to one request, or why it did not. `ahead`: seconds our clock is before its own."""

    address: str
    status: int = 0
    seconds: float = 0.0
    ahead: float | None = None
    body: bytes = b""
    error: str = ""


def ask(addresses: Sequence[str]) -> dict[str, Answer]:
    """One request to each address, all at once. Answers in a few seconds, whatever the servers do."""
    answers = {address: Answer(address, error=f"no answer in {SECONDS_TO_ANSWER:g} s") for address in addresses}
    # Threads that nobody waits for: a server that sends a byte now and then would keep one for ever.
    threads = [threading.Thread(target=_ask, args=(answers, address), daemon=True) for address in answers]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + SECONDS_TO_ANSWER
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return dict(answers)


def _ask(answers: dict[str, Answer], address: str) -> None:
    # Imported when something is asked, as it takes long; and set up as the collectors' client is: without proxies.
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=SECONDS_TO_ANSWER, headers=PLAIN) as client:
            answers[address] = _answer(client, address)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        answers[address] = Answer(address, error=str(error) or type(error).__name__)


def _answer(client: "Client", address: str) -> Answer:
    began = time.monotonic()
    with client.stream("GET", address) as response:
        seconds, arrived = time.monotonic() - began, time.time()
        ahead = _ahead(response.headers.get("Date"), arrived - seconds / 2)
        return Answer(address, response.status_code, seconds, ahead, next(response.iter_raw(LONGEST_BODY), b""))


def _ahead(date: str | None, here: float) -> float | None:
    """Seconds, to half a second: the header counts whole ones."""
    try:
        return here - parsedate_to_datetime(date).timestamp() - 0.5 if date else None
    except (ValueError, OverflowError):
        return None


# ---- Prefect ---------------------------------------------------------------------------------------------


def prefect(settings: Settings) -> Iterator[Finding]:
    api = settings.prefect_api_url or prefect_server.running(settings)
    if api:
        (answer,) = ask([f"{api}/admin/version"]).values()
        yield _prefect(settings, answer, api)
        if answer.ahead is not None:
            yield _clock([answer])
    elif settings.home.is_dir() and prefect_server.left_over(settings):
        what = spoken("Prefect server: a note is left of one that does not run any more")
        fix = "collect doctor --fix"
        yield Finding("warn", "prefect", what, fix, lambda: prefect_server.forget(settings))
    else:
        yield Finding("skip", "prefect", spoken("Prefect server: none runs; collect run starts one"))


def _prefect(settings: Settings, answer: Answer, api: str) -> Finding:
    if answer.status != 200:
        return _silent(settings, answer, api)
    theirs, ours = _text(answer.body), version("prefect")
    took = f"{answer.seconds * 1000:,.0f}"
    what = spoken("Prefect server {api} answers in {took} ms, version {theirs}", api=api, took=took, theirs=theirs)
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        return Finding("warn", "prefect", what, spoken("use version {ours} on both sides", ours=ours))
    if answer.seconds > SLOW_SECONDS:
        return Finding("warn", "prefect", what, spoken("give it more of the machine, or a database server of its own"))
    return Finding("ok", "prefect", what)


def _silent(settings: Settings, answer: Answer, api: str) -> Finding:
    why = answer.error or answer.status
    what = spoken("Prefect server {api} does not answer ({why})", api=api, why=why)
    if settings.prefect_api_url:
        return Finding("fail", "prefect", what, spoken("start it, or unset PREFECT_API_URL"))
    if prefect_server.being_started(settings):
        return Finding("warn", "prefect", what, spoken("another command is starting it: wait for that"))
    # One that listens may be busy with somebody's run; one that does not was left in the middle of its start.
    repair = None if prefect_server.taken(api) else lambda: prefect_server.down(settings)
    return Finding("fail", "prefect", what, "collect down", repair)


def _text(body: bytes) -> str:
    try:
        return str(orjson.loads(body))
    except orjson.JSONDecodeError:
        return "?"


# ---- collectors, collections and their sources -----------------------------------------------------------


def collectors(_: Settings) -> Iterator[Finding]:
    usable = []
    for name in registry.names():
        try:
            registry.load(name)
            usable.append(name)
        except CollectError as error:
            yield Finding("fail", "collectors", error.what, error.remedy)
    yield Finding("ok", "collectors", spoken("collectors: {names}", names=", ".join(usable)))


def collections(settings: Settings) -> Iterator[Finding]:
    """Every definition, every source, and their clocks."""
    sources: dict[str, list[str]] = {}
    for each in _definitions(settings):
        try:
            address = registry.checked_source(each, secret).base_url
            sources.setdefault(address, []).append(each.name)
        except CollectError as error:
            what = spoken("collection {name}: {what}", name=each.name, what=error.what)
            yield Finding("fail", "collections", what, error.remedy)
    names = ", ".join(name for collected in sources.values() for name in collected)
    what = spoken("valid definitions: {names}", names=names or spoken("none"))
    yield Finding("ok" if names else "skip", "collections", what)
    answers = ask([*sources])
    yield from (_source(answers[address], names) for address, names in sources.items())
    yield _clock(answers.values())


def _definitions(settings: Settings) -> list[Collection]:
    """Those that were collected before, and those that are shipped and were."""
    with known(settings) as found:
        if found is None:
            return []
        catalog, registry = found
        tenants = catalog.tenants()
        remembered = [each for tenant in tenants for each in registry.definitions(tenant)]
        collected = {name for tenant in tenants for name in catalog.collected(tenant)}
    names = {each.name for each in remembered}
    remembered = [each for each in remembered if each.collector != IMPORT]  # which has no source
    return [*remembered, *(each for each in shipped() if each.name in collected - names)]


def _source(answer: Answer, names: list[str]) -> Finding:
    facts = {"address": answer.address, "names": ", ".join(names)}
    if not answer.status:
        what = spoken("source of {names}, {address}: cannot be reached ({why})", **facts, why=answer.error)
        if answer.address in {each.source["base_url"] for each in shipped()}:
            return Finding("warn", "sources", what, "collect sample")
        return Finding("fail", "sources", what, spoken("check that it runs, its address and the network"))
    took = f"{answer.seconds * 1000:,.0f}"
    what = spoken("source of {names}, {address}: {status} in {took} ms", **facts, status=answer.status, took=took)
    if answer.status >= 500:
        return Finding("warn", "sources", what, spoken("the source has trouble of its own: ask who runs it"))
    return Finding("ok", "sources", what)


def _clock(answers: Iterable[Answer]) -> Finding:
    told = [answer for answer in answers if answer.ahead is not None]
    if not told:
        return Finding("skip", "clock", spoken("clock: no source tells the time"))
    worst = max(told, key=lambda answer: abs(answer.ahead or 0.0))
    off = f"{abs(worst.ahead or 0.0):.0f}"
    what = spoken("clock: {off} s from {address}", off=off, address=urlsplit(worst.address).netloc)
    if abs(worst.ahead or 0.0) > CLOCK_SECONDS:
        return Finding("warn", "clock", what, spoken("set the clock of one of them right, best by NTP"))
    return Finding("ok", "clock", what)
