"""What the keys of a model mean, for people: their types, defaults and examples, and how they look in a file."""

import re
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from collectors.language import spoken
from collectors.registry import REFERENCE

WORDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
    "array": "list", "object": "mapping", "integer or string": "whole number or text",
}  # fmt: skip
STAND_INS = {"string": "...", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
NOTE_COLUMN = 44


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a definition. `example` is a value that would be accepted; a secret's names a variable."""

    key: str
    type: str
    required: bool
    default: Any
    description: str
    example: Any


def keys_of(model: type[BaseModel], collector: str = "") -> list[Key]:
    """The keys of a model in their order. `collector` begins the names of the variables that hold secrets."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        _key(name, _resolved(field, schema.get("$defs", {})), name in required, collector)
        for name, field in schema["properties"].items()
    ]


def _key(name: str, field: dict[str, Any], required: bool, collector: str) -> Key:
    return Key(
        key=name,
        type=_type(field),
        required=required,
        default=field.get("default"),
        description=field.get("description", ""),
        example=variable(collector, name) if _is_secret(field) else _example(field),
    )


def variable(collector: str, key: str) -> str:
    """The reference to the environment variable that holds a secret, such as env:TESTRAIL_API_KEY."""
    return REFERENCE + re.sub(r"\W+", "_", f"{collector}_{key}", flags=re.ASCII).upper().strip("_")


def _resolved(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The field itself: without a reference, and without the null that says it may be left out."""
    for option in field.get("anyOf", ()):
        if option.get("type") != "null":
            field = option | field
            break
    return definitions.get(field.get("$ref", "").rpartition("/")[2], {}) | field


def _is_secret(field: dict[str, Any]) -> bool:
    return field.get("format") == "password"


def _type(field: dict[str, Any]) -> str:
    if _is_secret(field):
        return "secret"
    if "enum" in field:
        return " or ".join(str(value) for value in field["enum"])
    options = [option["type"] for option in field.get("anyOf", ()) if option.get("type", "null") != "null"]
    return WORDS.get(" or ".join(options) or field.get("type", ""), "any value")


def _example(field: dict[str, Any]) -> Any:
    if field.get("examples"):
        return field["examples"][0]
    if field.get("default") is not None:
        return field["default"]
    if field.get("enum"):
        return field["enum"][0]
    return field.get("minimum", STAND_INS.get(field.get("type", "string"), "..."))


def line(before: str, key: Key) -> str:
    """The key as a line of YAML with its meaning, in the user's language."""
    notes = [spoken(note) for note in (key.description, key.type) if note]
    return f"{before}{key.key}: {scalar(key.example)} ".ljust(NOTE_COLUMN) + f"# {spoken('; ').join(notes)}"


def source_lines(keys: list[Key]) -> list[str]:
    """The keys of a source in a file; those that may be left out are commented out."""
    return ["source:", *(line("  " if key.required else "  # ", key) for key in keys)]


def scalar(value: Any) -> str:
    """A value on one line of YAML."""
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    )
