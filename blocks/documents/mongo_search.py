"""The index of words in MongoDB: it proposes, the stored text decides.

MongoDB's own text index finds nothing in a language without blanks, and an array of terms under an index of its own
costs the server 20 µs a term: measured, 6 ms for a case of 1 KB. So the terms of two thousand documents at a time are
written as one segment: for each term the numbers of the documents that have it, gathered in a few hundred small
documents. Those that wait to be so many are searched one by one.

Terms are every two neighbouring characters that are not both ASCII, and the beginnings of ASCII words; those of a name
once more, marked, since names come first. A document that is written again waits again, and has another number later.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

from bson import Int64
from pymongo import ReturnDocument, UpdateOne
from pymongo.collection import Collection

from blocks.documents.search_index import ASCII_WORD, wanted
from collectors.terms import FIELDS, NAME, Found, find, folded, texts

BEGINNINGS = (6, 3, 1)
IN_NAME = "="
SEGMENT = 2_000
BUCKETS = 256
NUMBERS = 2**16  # of one segment
CHUNK = 200
WHAT_IS_SEARCHED = {"version": True, "name": True, "content": True}
Store = Collection[dict[str, Any]]


class MongoSearch:
    """Searches `details`; what it knows of their words stands in `words`."""

    def __init__(self, details: Store, words: Store) -> None:
        self._details, self._words = details, words
        self._make_indexes()

    def _make_indexes(self) -> None:
        waiting = {"partialFilterExpression": {"pending": True}}
        self._details.create_index([("tenant", 1)], name="pending", **waiting)
        numbered = {"partialFilterExpression": {"number": {"$exists": True}}}
        self._details.create_index([("number", 1)], name="number", **numbered)
        self._words.create_index([("tenant", 1), ("bucket", 1)])

    def forget(self) -> None:
        """Everything waits to be entered."""
        self._details.update_many({}, {"$set": {"pending": True}, "$unset": {"number": ""}})
        self._words.delete_many({"bucket": {"$exists": True}})

    def enter(self, least: int = SEGMENT) -> int:
        """Enter a segment of documents of one tenant, if at least so many wait; answers how many it were."""
        oldest = self._details.find_one({"pending": True}, {"tenant": True}, hint="pending")
        if oldest is None:
            return 0
        waiting = {"tenant": oldest["tenant"], "pending": True}
        found = list(self._details.find(waiting, WHAT_IS_SEARCHED).hint("pending").limit(SEGMENT))
        if len(found) < least:
            return 0
        segment = self._next_segment()
        if buckets := _segment(oldest["tenant"], segment, found):
            self._words.insert_many(buckets, ordered=False)
        self._details.bulk_write([_entered(each, segment, at) for at, each in enumerate(found)], ordered=False)
        return len(found)

    def search(
        self, query: str, where: Mapping[str, str | None], under: str | None, limit: int
    ) -> Iterator[tuple[dict[str, Any], Found]]:
        """Documents with every word of `query`, and where they stand in them; names first."""
        words = wanted(query)
        given = {name: value for name, value in where.items() if value is not None} | {"deleted": False} | _below(under)
        seen: set[str] = set()
        for named in (True, False):
            for each in self._candidates(given, words, named):
                content = {} if named else each["content"]
                if each["_id"] not in seen and (hit := find(words, texts(each["name"], content))):
                    seen.add(each["_id"])
                    yield each, hit
                    if len(seen) == limit:
                        return

    # ---- what may hold the words -----------------------------------------------------------------------

    def _candidates(self, given: Mapping[str, Any], words: Sequence[str], named: bool) -> Iterator[dict[str, Any]]:
        fields = [NAME] if named else [NAME, *(f"content.{field}" for field in FIELDS)]
        says = {"$and": [_anywhere(word, fields) for word in words]}
        asked = [(IN_NAME if named else "") + term for word in words for term in _asked(word)]
        if not asked:
            yield from self._details.find({**given, **says})
            return
        numbers = self._numbers(given["tenant"], asked)
        for start in range(0, len(numbers), CHUNK):
            yield from self._details.find({**given, "number": {"$in": numbers[start : start + CHUNK]}})
        yield from self._details.find({**given, "pending": True, **says}).hint("pending")

    def _numbers(self, tenant: str, asked: Iterable[str]) -> list[Int64]:
        """The numbers of the documents that have all the terms."""
        places = {_place(term) for term in asked}
        buckets = {"tenant": tenant, "bucket": {"$in": [bucket for bucket, _ in places]}}
        shown = {"segment": True, "bucket": True} | {f"terms.{key}": True for _, key in places}
        having: defaultdict[int, list[set[int]]] = defaultdict(list)
        for each in self._words.find(buckets, shown):
            for bucket, key in places:
                if bucket == each["bucket"] and key in each["terms"]:
                    having[each["segment"]].append(set(array("H", each["terms"][key])))
        return [
            Int64(segment * NUMBERS + at)
            for segment, sets in sorted(having.items())
            if len(sets) == len(places)
            for at in sorted(set.intersection(*sets))
        ]

    def _next_segment(self) -> int:
        counted = self._words.find_one_and_update(
            {"_id": "segments"}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        return counted["value"]


def _segment(tenant: str, segment: int, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    having: defaultdict[str, array[int]] = defaultdict(lambda: array("H"))
    for at, each in enumerate(found):
        for term in terms(each["name"], each["content"]):
            having[term].append(at)
    buckets: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    for term, numbers in having.items():
        bucket, key = _place(term)
        known = buckets[bucket].get(key, b"")  # of another term with the same hash
        buckets[bucket][key] = known + numbers.tobytes()
    return [
        {"tenant": tenant, "segment": segment, "bucket": bucket, "terms": terms} for bucket, terms in buckets.items()
    ]


def _entered(each: Mapping[str, Any], segment: int, at: int) -> UpdateOne:
    """Unless it was changed meanwhile: then it goes on waiting."""
    number = {"$set": {"number": Int64(segment * NUMBERS + at)}, "$unset": {"pending": ""}}
    return UpdateOne({"_id": each["_id"], "version": each["version"]}, number)


def terms(name: str, content: Mapping[str, Any]) -> list[str]:
    whole = _terms(folded("\n".join(text for _, text in texts(name, content))))
    return [*whole, *(IN_NAME + term for term in _terms(folded(name)))]


def _terms(text: str) -> set[str]:
    found = {first + second for first, second in pairwise(text) if second > "\x7f" or first > "\x7f"}
    for word in set(ASCII_WORD.findall(text)):
        found.update(word[:length] for length in BEGINNINGS if length <= len(word))
    return found


def _asked(word: str) -> list[str]:
    """Terms that every text with this word has; none of a word that is too short for one."""
    pairs = [first + second for first, second in pairwise(word) if not (first + second).isascii()]
    # Found anywhere, a word that is not all ASCII may begin within a longer ASCII word.
    begun = [found[0] for found in ASCII_WORD.finditer(word) if found.start() or word.isascii()]
    return pairs + [next(each[:length] for length in BEGINNINGS if length <= len(each)) for each in begun]


def _place(term: str) -> tuple[int, str]:
    """The bucket of a term, and its key in there."""
    number = crc32(term.encode())
    return number % BUCKETS, f"{number // BUCKETS:x}"


def _anywhere(word: str, fields: Sequence[str]) -> dict[str, Any]:
    """A condition that holds wherever `find` finds the word, and little more."""
    found = {"$regex": re.escape(word), "$options": "i"}
    return {"$or": [{field: found} for field in fields]}


def _below(under: str | None) -> dict[str, Any]:
    if under is None:
        return {}
    path = under.rstrip("/")
    return {"path": {"$regex": f"^{re.escape(path)}(/|$)"}}
