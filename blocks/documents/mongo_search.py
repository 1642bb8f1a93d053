"""The index of words in MongoDB: it proposes, the stored text decides.

MongoDB's own text index finds nothing in a language without blanks, and an array of terms under an index of its own
costs the server 7 µs a term: measured, 2.4 ms for a case of 1 KB. So the terms of two thousand documents at a time are
written as one segment: for each term the numbers of the documents that have it, gathered in a few hundred small
documents. Those that wait to be so many are searched one by one.

Terms are every two neighbouring characters that are not both ASCII, and ASCII words; each is kept below how it begins,
so that beginnings, and single characters, are found as well. A document that is written again waits again, and has
another number later.
"""

import re
import string
import time
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice, pairwise, product
from operator import add
from typing import Any, NamedTuple
from zlib import crc32

from bson import Int64
from pymongo import ReturnDocument, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from blocks.documents.search_index import ASCII_WORD, MOST_TERMS, wanted
from collectors.terms import FIELDS, NAME, Found, find, folded, texts

BEGIN = 2  # characters of an ASCII word by which it is kept
LONGEST = 32  # so much of an ASCII word is kept
LEAST, SEGMENT = 500, 2_000  # documents that are entered at once
VOLUME = 2_000_000  # characters of a segment after which it is full
TERMS = 200_000  # of one group of buckets, so that none of these outgrows a document
BUCKETS = 256
NUMBERS = 2**16  # of one segment
CHUNK = 100
CLAIM_MILLISECONDS = 60_000
PAUSE = 0.1
SEGMENTS = "segments"
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = [NAME, *(f"content.{field}" for field in FIELDS)]
SHOWN = dict.fromkeys(["collection", "type", "id", "path", *TEXTS], True)
WHERE_NAMED, WHERE_SAID = "names", "texts"
Store = Collection[dict[str, Any]]


class Asked(NamedTuple):
    """Terms that begin with one of `begins`, and end with what `rest` is, or begins with."""

    begins: tuple[str, ...]
    rest: str
    is_whole: bool

    def among(self, buckets: Iterable[Mapping[str, Mapping[str, bytes]]]) -> Iterator[bytes]:
        for bucket, begin in product(buckets, self.begins):
            for rest, numbers in bucket.get(_key(begin), {}).items():
                if rest == self.rest or (not self.is_whole and rest.startswith(self.rest)):
                    yield numbers


class MongoSearch:
    """Searches `details`; what it knows of their words stands in `words`."""

    def __init__(self, details: Store, words: Store) -> None:
        self.details, self._words = details, words
        self._make_indexes()

    def _make_indexes(self) -> None:
        waiting = {"partialFilterExpression": {"pending": True}}
        self.details.create_index([("tenant", 1)], name="pending", **waiting)
        numbered = {"partialFilterExpression": {"number": {"$exists": True}}}
        self.details.create_index([("number", 1)], name="number", **numbered)
        self._words.create_index([("bucket", 1), ("tenant", 1)])
        begun = {"$setOnInsert": {"number": Int64(0), "claimed": NEVER}}
        self._words.update_one({"_id": SEGMENTS}, begun, upsert=True)

    def renew(self) -> None:
        """Forget everything, and enter it again."""
        while (segment := self._claim()) is None:
            time.sleep(PAUSE)
        self._forget(segment)
        self._release(segment)
        while self.enter(least=1):
            pass

    def enter(self, least: int = LEAST) -> int:
        """Enter a segment of documents of one tenant, if at least so many wait and nobody else does; answers how many
        it were."""
        for tenant in self._waiting_tenants():
            waiting = {"tenant": tenant, "pending": True}
            if self.details.count_documents(waiting, limit=least, hint="pending") == least:
                return self._enter(waiting)
        return 0

    def _enter(self, waiting: Mapping[str, Any]) -> int:
        if (segment := self._claim()) is None:
            return 0
        shown = dict.fromkeys(["version", *TEXTS], True)
        numbered, having = _gathered(self.details.find(waiting, shown, hint="pending", limit=SEGMENT))
        if buckets := list(_buckets(waiting["tenant"], segment, having)):
            self._words.insert_many(buckets, ordered=False)
        if numbered:
            self.details.bulk_write([_entered(key, segment, at) for at, key in enumerate(numbered)], ordered=False)
        self._release(segment)
        return len(numbered)

    def _waiting_tenants(self) -> Iterator[str]:
        after = ""
        while first := self.details.find_one(
            {"pending": True, "tenant": {"$gt": after}}, {"tenant": True}, sort=[("tenant", 1)], hint="pending"
        ):
            after = first["tenant"]
            yield after

    def search(
        self, query: str, where: Mapping[str, str | None], under: str | None, limit: int
    ) -> Iterator[tuple[dict[str, Any], Found]]:
        """Documents with every word of `query`, and where they stand in them; names first."""
        words = wanted(query)
        given = {name: value for name, value in where.items() if value is not None} | {"deleted": False} | _below(under)
        # All is read as of one moment: a document that is entered meanwhile is not missed.
        with self.details.database.client.start_session(snapshot=True) as moment:
            yield from islice(self._hits(words, given, moment), limit)

    # ---- what says the words ---------------------------------------------------------------------------

    def _hits(
        self, words: Sequence[str], given: Mapping[str, Any], moment: ClientSession
    ) -> Iterator[tuple[dict[str, Any], Found]]:
        seen: set[str] = set()
        for part, fields in ((WHERE_NAMED, TEXTS[:1]), (WHERE_SAID, TEXTS)):
            numbers = self._numbers(given["tenant"], _asked(words), part, moment)
            waiting = {**given, "pending": True, "$and": [_anywhere(word, fields) for word in words[:MOST_TERMS]]}
            still = self.details.find(waiting, SHOWN, hint="pending", session=moment)
            for each in chain(self._numbered(numbers, given, moment), still):
                content = each["content"] if fields is TEXTS else {}
                if each["_id"] not in seen and (hit := find(words, texts(each["name"], content))):
                    seen.add(each["_id"])
                    yield each, hit

    def _numbered(
        self, numbers: Iterator[Int64], given: Mapping[str, Any], moment: ClientSession
    ) -> Iterator[dict[str, Any]]:
        size = CHUNK
        while some := list(islice(numbers, size)):
            yield from self.details.find({**given, "number": {"$in": some}}, SHOWN, session=moment)
            size *= 2

    def _numbers(self, tenant: str, asked: Sequence[Asked], part: str, moment: ClientSession) -> Iterator[Int64]:
        """The numbers of the documents that have all the terms in this part."""
        begins = [begin for each in asked for begin in each.begins]
        buckets = {"bucket": {"$in": sorted({_bucket(begin) for begin in begins})}, "tenant": tenant}
        shown = {"segment": True} | {f"{part}.{_key(begin)}": True for begin in begins}
        segments: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for bucket in self._words.find(buckets, shown, session=moment):
            segments[bucket["segment"]].append(bucket[part])
        for segment, parts in sorted(segments.items()):
            having = (set(chain.from_iterable(array("H", at) for at in each.among(parts))) for each in asked)
            yield from (Int64(segment * NUMBERS + at) for at in sorted(set.intersection(*having)))

    # ---- segments --------------------------------------------------------------------------------------

    def _claim(self) -> int | None:
        """The number of the next segment; None while somebody else works on one."""
        free = {"_id": SEGMENTS, "$expr": {"$lt": ["$claimed", "$$NOW"]}}
        claimed = {"number": {"$add": ["$number", 1]}, "claimed": {"$add": ["$$NOW", CLAIM_MILLISECONDS]}}
        taken = self._words.find_one_and_update(free, [{"$set": claimed}], return_document=ReturnDocument.AFTER)
        return taken and taken["number"]

    def _release(self, segment: int) -> None:
        self._words.update_one({"_id": SEGMENTS, "number": segment}, {"$set": {"claimed": NEVER}})

    def _forget(self, end: int) -> None:
        """What is entered in segments before `end` waits again. In small steps: each has to end in time."""
        older = {"number": {"$lt": Int64(end * NUMBERS)}}
        while oldest := self.details.find_one(older, {"number": True}, sort=[("number", 1)], hint="number"):
            first = oldest["number"] // NUMBERS * NUMBERS
            segment = {"number": {"$gte": Int64(first), "$lt": Int64(first + NUMBERS)}}
            self.details.update_many(segment, {"$set": {"pending": True}, "$unset": {"number": ""}}, hint="number")
        for first in range(0, BUCKETS, BUCKETS // 16):
            some = list(range(first, first + BUCKETS // 16))
            self._words.delete_many({"bucket": {"$in": some}, "segment": {"$lt": end}})


def _gathered(found: Iterable[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], dict[str, dict[str, array]]]:
    """The (id, version) of the documents as far as a segment takes them, and for each term who has it."""
    numbered: list[tuple[str, str]] = []
    having: dict[str, dict[str, array]] = {part: defaultdict(lambda: array("H")) for part in (WHERE_NAMED, WHERE_SAID)}
    volume = 0
    for at, each in enumerate(found):
        numbered.append((each["_id"], each["version"]))
        said = "\n".join(text for _, text in texts(each["name"], each["content"]))
        for part, text in ((WHERE_NAMED, each["name"]), (WHERE_SAID, said)):
            for term in terms(text):
                having[part][term].append(at)
        volume += len(said)
        if volume > VOLUME:
            break
    return numbered, having


def _buckets(tenant: str, segment: int, having: Mapping[str, Mapping[str, array]]) -> Iterator[dict[str, Any]]:
    entries = ((part, *_parted(term), at.tobytes()) for part, numbers in having.items() for term, at in numbers.items())
    while some := list(islice(entries, TERMS)):
        buckets: dict[int, dict[str, Any]] = {}
        for part, begin, rest, numbers in some:
            number = _bucket(begin)
            bucket = buckets.setdefault(number, {WHERE_NAMED: {}, WHERE_SAID: {}})
            bucket[part].setdefault(_key(begin), {})[rest] = numbers
        yield from ({"tenant": tenant, "segment": segment, "bucket": number, **buckets[number]} for number in buckets)


def _entered(key: tuple[str, str], segment: int, at: int) -> UpdateOne:
    """Unless it was changed meanwhile: then it goes on waiting."""
    id, version = key
    number = {"$set": {"number": Int64(segment * NUMBERS + at)}, "$unset": {"pending": ""}}
    return UpdateOne({"_id": id, "version": version}, number)


# ---- terms -----------------------------------------------------------------------------------------------


def terms(text: str) -> set[str]:
    text = f"{folded(text)}\n"
    pairs = {pair for pair in set(map(add, text, text[1:])) if not pair.isascii()}
    return pairs.union(word[:LONGEST] for word in ASCII_WORD.findall(text))


def _parted(term: str) -> tuple[str, str]:
    """How it begins, and the rest."""
    at = BEGIN if term.isascii() else 1
    return term[:at], term[at:]


def _asked(words: Sequence[str]) -> list[Asked]:
    """Of very long queries the first terms do: the stored text decides."""
    return list(dict.fromkeys(each for word in words for each in _asked_by(word)))[:MOST_TERMS]


def _asked_by(word: str) -> Iterator[Asked]:
    if len(word) == 1 and not word.isascii():
        yield Asked((word,), "", False)
    for first, second in pairwise(word):
        if not (first + second).isascii():
            yield Asked((first,), second, True)
    for found in ASCII_WORD.finditer(word):
        # Found anywhere, a word that is not all ASCII may begin within a longer ASCII word.
        if found.start() or word.isascii():
            yield _begun(found[0])


def _begun(word: str) -> Asked:
    if len(word) >= BEGIN:
        return Asked((word[:BEGIN],), word[BEGIN:LONGEST], False)
    return Asked((word, *(word + second for second in string.digits + string.ascii_lowercase)), "", False)


def _bucket(begin: str) -> int:
    return crc32(begin.encode()) % BUCKETS


def _key(begin: str) -> str:
    """A name of a field: not every character may stand in one."""
    return begin.encode().hex()


# ---- conditions ------------------------------------------------------------------------------------------


def _anywhere(word: str, fields: Sequence[str]) -> dict[str, Any]:
    """A condition that holds wherever `find` finds the word, and little more."""
    found = {"$regex": re.escape(word[:LONGEST]), "$options": "i"}
    return {"$or": [{field: found} for field in fields]}


def _below(under: str | None) -> dict[str, Any]:
    """A path of a directory, or one below it: those between `under/` and `under0`, the character after a slash."""
    if under is None:
        return {}
    path = under.rstrip("/")
    return {"$or": [{"path": path}, {"path": {"$gte": f"{path}/", "$lt": f"{path}0"}}]}
