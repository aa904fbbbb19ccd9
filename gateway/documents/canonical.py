"""The content of a schema dataclass as TOML text, and its digest, whatever the file looked like.

Two files with the same content (order of keys, comments, 4.1 or 4.10) have one digest: a reload is
recognised by content, never by file name or date. `to_toml` writes what `parse_toml` reads back.
"""

import dataclasses
import enum
import hashlib
import json
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from typing import Any


def to_toml(content: Any) -> str:
    """Write a dataclass of scalars, tuples and nested dataclasses; fields that are None are out."""
    return "\n".join(_table(content, "")) + "\n"


def digest(content: Any) -> str:
    """SHA-256 (hex) of the content, with numbers in their shortest form."""
    return hashlib.sha256("\n".join(_table(content, "", shortest=True)).encode()).hexdigest()


def _table(content: Any, place: str, *, shortest: bool = False) -> Iterator[str]:
    """One table: its scalars first, then its sub-tables and arrays of tables, by field order."""
    nested: list[str] = []
    for item in dataclasses.fields(content):
        value = getattr(content, item.name)
        inner = f"{place}.{item.name}" if place else item.name
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            nested += [f"[{inner}]", *_table(value, inner, shortest=shortest)]
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for element in value:
                nested += [f"[[{inner}]]", *_table(element, inner, shortest=shortest)]
        else:
            yield f"{item.name} = {_scalar(value, shortest=shortest)}"
    yield from nested


def _scalar(value: Any, *, shortest: bool) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return _number(value, shortest=shortest)
        case str():
            # TOML's basic strings take JSON's escapes; only DEL must be escaped besides.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case date() | time():
            return value.isoformat()
        case enum.Enum():
            return _scalar(value.value, shortest=shortest)
        case tuple():
            return f"[{', '.join(_scalar(element, shortest=shortest) for element in value)}]"
    raise TypeError(f"a {type(value).__name__} cannot be written as TOML here")


def _number(value: Decimal, *, shortest: bool) -> str:
    """A plain decimal, never an exponent; `4.10` stays so unless `shortest`."""
    text = f"{value:f}"
    if shortest and "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
