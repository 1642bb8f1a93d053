"""Composes the initial tree of the sample source from a seed: irregular as in life, the same every time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar

import orjson

from collectors.testing.vocabulary import ESTIMATES, LABELS, LANGUAGES, REFERENCES, VARIANTS, Language, Module

LEVELS = 10
LATE_SHARE = 0.02
TOP_SHARE = 0.015
SECOND_SHARE = 0.1
SCENARIOS = 100
BASE_TIME = 1_700_000_000
DAY = 86_400
LONGEST_BURST = 60

Item = dict[str, Any]
T = TypeVar("T")


class Node(NamedTuple):
    """A directory while the tree is composed; most of what is below it has its language and module."""

    id: int
    depth: int
    language: int
    module: int


class Scenario(NamedTuple):
    title: str
    preconditions: str
    steps: orjson.Fragment


def section_item(id: int, parent_id: int | None, depth: int, name: str, description: str | None = None) -> Item:
    return {
        "id": id,
        "suite_id": 1,
        "name": name,
        "description": description,
        "parent_id": parent_id,
        "display_order": id,
        "depth": depth,
    }


def case_item(id: int, section_id: int, created_on: int, title: str) -> Item:
    return {
        "id": id,
        "title": title,
        "section_id": section_id,
        "template_id": 2,
        "type_id": 1,
        "priority_id": 2,
        "milestone_id": None,
        "refs": None,
        "created_by": 1,
        "created_on": created_on,
        "updated_by": 1,
        "updated_on": created_on,
        "estimate": None,
        "estimate_forecast": None,
        "suite_id": 1,
        "display_order": id,
        "is_deleted": 0,
        "custom_preconds": None,
        "custom_steps_separated": [],
        "labels": [],
    }


class Composer:
    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random
        self._nodes: list[Node] = []
        self._names: Counter[tuple[int | None, str]] = Counter()

    def sections(self, count: int) -> list[Item]:
        """By id. About one in fifty is older than its parent: somebody created that later and moved it there."""
        late = {id for id in range(1, count + 1) if self._random() < LATE_SHARE}
        order = sorted(range(1, count + 1), key=lambda id: id + count // 5 if id in late else id)
        parents: list[Node] = []
        items = []
        for id in order:
            node, item = self._section(id, self._parent(parents, latest=id in late))
            items.append(item)
            self._nodes.append(node)
            if node.depth < LEVELS - 1:
                parents.append(node)
        return sorted(items, key=lambda item: item["id"])

    def cases(self, count: int) -> Iterator[Item]:
        """By id, in bursts: who writes cases stays in one directory for a while."""
        scenarios = self._scenarios()
        following = 1
        while following <= count:
            home, first = self._pick(self._nodes), following
            following = min(first + 1 + int(self._random() ** 2 * LONGEST_BURST), count + 1)
            for id in range(first, following):
                scenario = self._pick(scenarios[home.language, home.module])
                yield self._case(id, home.id, BASE_TIME + id * 365 * DAY // count, scenario)

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    # ---- directories -----------------------------------------------------------------------------------

    def _parent(self, parents: list[Node], latest: bool) -> Node | None:
        """The first directories are a chain, so that small trees are deep too; later ones prefer young parents."""
        if latest or len(self._nodes) < LEVELS:
            return parents[-1] if parents else None
        kind = self._random()
        if kind < TOP_SHARE:
            return None
        if kind < SECOND_SHARE:
            parents = [node for node in parents if node.depth == 0]
        return parents[-1 - int(self._random() ** 1.5 * len(parents))]

    def _section(self, id: int, parent: Node | None) -> tuple[Node, Item]:
        depth = parent.depth + 1 if parent else 0
        language = parent.language if parent and self._random() < 0.95 else self._below(len(LANGUAGES))
        words = LANGUAGES[language]
        module = parent.module if parent and depth > 1 else self._below(len(words.modules))
        parent_id = parent.id if parent else None
        name = self._name(parent_id, self._names_at(depth, words, words.modules[module]))
        description = self._pick(words.descriptions).format(module=words.modules[module].name) if depth else ""
        return Node(id, depth, language, module), section_item(id, parent_id, depth, name, description or None)

    def _names_at(self, depth: int, words: Language, module: Module) -> tuple[str, ...]:
        by_depth = (words.areas, (module.name,), module.features)
        return by_depth[depth] if depth < len(by_depth) else words.aspects

    def _name(self, parent_id: int | None, names: tuple[str, ...]) -> str:
        name = self._pick(names)
        self._names[parent_id, name] += 1
        times = self._names[parent_id, name]
        return name if times == 1 else f"{name} {times}"

    # ---- cases -----------------------------------------------------------------------------------------

    def _case(self, id: int, section_id: int, created_on: int, scenario: Scenario) -> Item:
        pick, below = self._pick, self._below
        estimate, label = pick(ESTIMATES), below(len(LABELS))
        return case_item(id, section_id, created_on, scenario.title + pick(VARIANTS)) | {
            "type_id": 1 + below(9),
            "priority_id": 1 + below(4),
            "milestone_id": pick((None, None, 3, 4)),
            "refs": pick((None, f"{pick(REFERENCES)}-{1000 + below(9000)}")),
            "created_by": 1 + below(12),
            "updated_by": 1 + below(12),
            "updated_on": created_on + below(200 * DAY),
            "estimate": estimate,
            "estimate_forecast": estimate,
            "custom_preconds": scenario.preconditions,
            "custom_steps_separated": scenario.steps,
            "labels": LABELS[label : label + below(3)],
        }

    def _scenarios(self) -> dict[tuple[int, int], list[Scenario]]:
        """Composed and serialised once per language and module: many cases share one, as copies do in life."""
        return {
            (language, module): [self._scenario(words, words.modules[module]) for _ in range(SCENARIOS)]
            for language, words in enumerate(LANGUAGES)
            for module in range(len(words.modules))
        }

    def _scenario(self, language: Language, module: Module) -> Scenario:
        words = self._words(language, module)
        return Scenario(
            self._pick(language.titles).format_map(words),
            self._pick(language.preconditions).format_map(words),
            orjson.Fragment(orjson.dumps(self._steps(language, words))),
        )

    def _words(self, language: Language, module: Module) -> dict[str, str]:
        pick = self._pick
        amount = f"{1 + self._below(50_000) / 100:.2f}"
        words = {"module": module.name, "actor": pick(language.actors), "amount": amount}
        words |= {"check": pick(module.checks), "feature": pick(module.features), "minutes": pick(("5", "15", "30"))}
        words["condition"] = pick(language.conditions).format_map(words)
        return words

    def _steps(self, language: Language, words: dict[str, str]) -> list[dict[str, str]]:
        """The first opens the page, the others follow in an order that makes sense."""
        first, *rest = language.steps
        start, many = self._below(len(rest)), 2 + self._below(4)
        return [
            {"content": content.format_map(words), "expected": expected.format_map(words)}
            for content, expected in (first, *rest[start : start + many])
        ]
