"""What is said to people, in their language. The English text is the key; translations are in chinese.py."""

from contextvars import ContextVar
from typing import Any

LANGUAGE: ContextVar[str] = ContextVar("language", default="en")


def spoken(text: str, /, **facts: Any) -> str:
    """`text` in the language of this context, its {places} filled with `facts`."""
    if LANGUAGE.get() == "zh":
        from collectors.chinese import TEXTS

        text = TEXTS.get(text, text)
    return text.format_map(facts) if facts else text
