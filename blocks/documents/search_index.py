"""The index of the documents for full-text search: it proposes, the stored text decides.

SQLite finds ASCII words by itself, and nothing in a language without blanks; so text that is not all ASCII is entered a
second time as pairs of neighbouring characters: `ab bc cd`. Each document is entered by its name and by all its text;
names have the smaller numbers and come first. Nothing is ever taken out: what a document does not say any more is
proposed, read, and left out. A document's number is its row number, so VACUUM asks for `rebuild`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any
from zlib import crc32

import orjson
from sqlalchemy import Connection

from collectors.errors import Misconfigured
from collectors.terms import PAIR, folded, pairs, texts, words

CHUNK = 1000
ROWS = 250
WHOLE = 1 << 40
SCOPE = "\ue000"
Key = tuple[str, str, str]
MOST_TERMS = 60
MOST_COMPLETIONS = 50
ASCII_WORD = re.compile("[0-9a-z]+")
SEPARATOR = re.compile(r"[^0-9a-z\x80-\U0010ffff]")
CREATE = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5("
    "words, pairs, content='', columnsize=0, detail=none, tokenize='ascii')"
)
CREATE_VOCABULARY = "CREATE VIRTUAL TABLE IF NOT EXISTS search_vocabulary USING fts5vocab(search, instance)"
ENTERED = f"SELECT count(*) FROM search WHERE search MATCH ? AND rowid >= {WHOLE}"
FOLLOWING = "SELECT term FROM search_vocabulary WHERE term >= ? LIMIT 1"
STORED = """
    SELECT tenant, collection, kind, rowid AS number, body FROM document
    WHERE rowid > ? AND NOT deleted ORDER BY rowid LIMIT ?
"""
CANDIDATES = f"""
    SELECT search.rowid < {WHOLE} AS named, document.rowid AS number,
    document.collection, document.kind, document.id, document.path, document.body
    FROM search CROSS JOIN document ON document.rowid = search.rowid & {WHOLE - 1}
    WHERE search MATCH :terms AND document.tenant = :tenant AND NOT document.deleted
    AND (:collection IS NULL OR document.collection = :collection) AND (:kind IS NULL OR document.kind = :kind)
    AND (:under IS NULL OR document.path = :under OR substr(document.path, 1, length(:under) + 1) = :under || '/')
    ORDER BY search.rowid
"""


def create(_: Any, connection: Connection, **__: Any) -> None:
    """Make the index where there is none, and enter what is stored already."""
    if connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'search'").first():
        return
    connection.exec_driver_sql(CREATE)
    connection.exec_driver_sql(CREATE_VOCABULARY)
    # Measured: fewer merges than by default are cheaper to write, and as fast to search.
    connection.exec_driver_sql("INSERT INTO search(search, rank) VALUES ('automerge', 16)")
    rebuild(connection)


def rebuild(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO search(search) VALUES ('delete-all')")
    after = 0
    while rows := connection.exec_driver_sql(STORED, (after, CHUNK)).all():
        for key, group in groupby(rows, key=itemgetter(0, 1, 2)):
            bodies = [(number, orjson.loads(body)) for *_, number, body in group]
            enter(connection, key, [(number, body["name"], body["content"]) for number, body in bodies])
        after = rows[-1].number


def enter(connection: Connection, key: Key, documents: Iterable[tuple[int, str, dict[str, Any]]]) -> None:
    """Make the (row number, name, content) of stored documents known to search; `key` is what they have in common."""
    rows = _rows(documents, " ".join(_scopes(*key)))
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        # One statement for many rows, so that SQLite works on all of them without asking for Python's lock.
        statement = f"INSERT INTO search(rowid, words, pairs) VALUES {', '.join(['(?, ?, ?)'] * len(some))}"
        connection.exec_driver_sql(statement, tuple(value for row in some for value in row))


def candidates(connection: Connection, wanted: Sequence[str], where: Mapping[str, str | None]) -> Iterator[Any]:
    """Documents that may say the `wanted` words, those that may say all of them in their name first."""
    terms = [*_scopes(where["tenant"], where["collection"], where["kind"]), *_terms(wanted)]
    matching = " AND ".join(_matching(connection, term) for term in terms)
    return connection.exec_driver_sql(CANDIDATES, {**where, "terms": matching}).mappings()


def wanted(query: str) -> list[str]:
    """The words of `query`. Raises Misconfigured when no search can begin with any of them."""
    found = words(query)
    if not _terms(found):
        raise Misconfigured(
            "{query} holds nothing that can be searched",
            "Give a word, or a Chinese character.",
            code="COL-0260",
            query=repr(query),
        )
    return found


def entered(kind: str) -> tuple[str, str]:
    """A question, and its parameter: how many documents of a kind are known to search; at least those that live."""
    return ENTERED, f'"{_scope(f"/{kind}")}"'


def _scopes(tenant: str, collection: str | None, kind: str | None) -> list[str]:
    """Terms for where a document belongs, so that SQLite reads less that belongs elsewhere. No text has them."""
    # Not for a tenant alone: a term that most documents have costs more than it saves.
    return [_scope(part) for part in (collection and f"{tenant}/{collection}", kind and f"/{kind}") if part]


def _scope(part: str) -> str:
    return f"{SCOPE}{crc32(part.encode()):x}"


def _rows(documents: Iterable[tuple[int, str, dict[str, Any]]], scopes: str) -> list[tuple[int, str, str]]:
    """Names first, each kind by row number: at a smaller one SQLite writes out all it has gathered."""
    names, wholes = [], []
    for number, name, content in sorted(documents, key=itemgetter(0)):
        text = folded("\n".join(text for _, text in texts(name, content)))
        plain, paired = (text, "") if text.isascii() else (text.encode("ascii", "replace").decode(), pairs(text))
        names.append((number, f"{plain[: len(name)]} {scopes}", paired[: PAIR * len(name)]))
        wholes.append((number + WHOLE, f"{plain} {scopes}", paired))
    return names + wholes


def _terms(wanted: Sequence[str]) -> list[str]:
    """What every text that says the `wanted` words holds; a `*` ends what only begins a term. Of very long queries the
    first terms do: the stored text decides. They hold letters and digits only: none is an operator to SQLite."""
    return list(dict.fromkeys(term for word in wanted for term in _terms_of(word)))[:MOST_TERMS]


def _terms_of(word: str) -> list[str]:
    if word.isascii():
        parts = ASCII_WORD.findall(word)
        return [*parts[:-1], *(f"{last}*" for last in parts[-1:])]
    if len(word) == 1:
        return [f"{word}*"]
    terms = (SEPARATOR.sub("", first + second) for first, second in pairwise(word))
    return [term for term in terms if term]


def _matching(connection: Connection, term: str) -> str:
    """`term` in SQLite's language. Measured: to name what a beginning stands for is far faster than to ask for it."""
    begin = term.removesuffix("*")
    if begin == term:
        return f'"{term}"'
    known = _completions(connection, begin) or [begin]
    if len(known) > MOST_COMPLETIONS:
        return f'"{begin}" *'
    return "(" + " OR ".join(f'"{each}"' for each in known) + ")"


def _completions(connection: Connection, begin: str) -> list[str]:
    """The indexed terms that begin so, as far as one more than MOST_COMPLETIONS."""
    found: list[str] = []
    following = begin
    while len(found) <= MOST_COMPLETIONS:
        term = connection.exec_driver_sql(FOLLOWING, (following,)).scalar()
        if term is None or not term.startswith(begin):
            break
        found.append(term)
        following = f"{term}\x01"
    return found
