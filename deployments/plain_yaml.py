"""YAML as far as a collection file needs it: one document, no aliases, no key twice, nothing endless."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from collectors.errors import Misconfigured

DEEPEST = 20
LONGEST_NUMBER = 20
QUOTED = re.compile(r"'(?!<|\\t')[^' ]*\w[^' ]*'")  # not the names of tokens, which stand in <>, and not the tab


def loaded(text: str, where: str) -> Any:
    """What the text says. Raises Misconfigured that names the place alone: what stands there may be a secret."""
    try:
        return _Loader(text, where).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise _explained(error, where) from None


class _Loader(yaml.SafeLoader):
    """Refuses while it reads, so that no file can make it work or remember more than it holds."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self._where, self._depth = where, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise Misconfigured(
                "{where} holds an alias (*) in line {line}",
                "Write out what it stands for; quote a text that begins with *.",
                code="COL-0215",
                where=self._where,
                line=_line(self.peek_event()),
            )
        if self._depth > DEEPEST:
            raise Misconfigured(
                "{where} is nested deeper than {deepest} levels in line {line}",
                "Look for a bracket that is not closed.",
                code="COL-0216",
                where=self._where,
                deepest=DEEPEST,
                line=_line(self.peek_event()),
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in known:
                raise Misconfigured(
                    "{where} holds the key {key!r} in line {first} and again in line {line}",
                    "Keep one of them.",
                    code="COL-0217",
                    where=self._where,
                    key=key.value,
                    first=known[key.value],
                    line=_line(key),
                )
            known[key.value] = _line(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER:
            raise Misconfigured(
                "{where} holds a number of more than {digits} digits in line {line}",
                "Quote it if it is meant as text.",
                code="COL-0227",
                where=self._where,
                digits=LONGEST_NUMBER,
                line=_line(node),
            )
        return self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)


def _line(found: Any) -> int:
    return found.start_mark.line + 1


def _explained(error: Exception, where: str) -> Misconfigured:
    mark = getattr(error, "problem_mark", None)
    if getattr(error, "context", "") == "expected a single document in the stream":
        what, remedy = "{where} holds a second document that begins in line {line}", "Keep one, or make a file of each."
        return Misconfigured(what, remedy, code="COL-0218", where=where, line=mark.line + 1)
    what, remedy = "{where} is not valid YAML", "Check quotes, dates and indentation (blanks, no tabs)."
    if mark:
        what = "{where} is not valid YAML (line {line}, column {column}{why})"
        facts = {"line": mark.line + 1, "column": mark.column + 1, "why": _reason(error)}
        return Misconfigured(what, remedy, code="COL-0213", where=where, **facts)
    if isinstance(error, yaml.reader.ReaderError):
        what = "{where} is not valid YAML (position {position})"
        return Misconfigured(what, remedy, code="COL-0213", where=where, position=error.position)
    return Misconfigured(what, remedy, code="COL-0213", where=where)


def _reason(error: Any) -> str:
    """YAML's own words, without what they quote of the text; those about tags quote more, and are left out."""
    if not isinstance(error, (yaml.scanner.ScannerError, yaml.parser.ParserError)) or not error.problem:
        return ""
    return ": " + QUOTED.sub("...", error.problem)
