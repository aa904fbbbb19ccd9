"""A TOML file that people write becomes a frozen dataclass, or an error they can act on.

The dataclass is the schema: unknown keys are refused with the nearest known one, values must have
the field's type, and what `__post_init__` refuses with ValueError is reported with its place in the
file. Numbers with a point arrive as exact `Decimal`s, so that a clerk may write 4.10 and a rupee
amount never passes through a float.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class DataFileError(ValueError):
    """A data file cannot be used. The text names the file, the place in it and the fault."""


def load_toml(path: Path, schema: type[T]) -> T:
    """Read the TOML file at `path` as a `schema`. Raises `DataFileError`."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return parse_toml(text, schema, name=str(path))


def parse_toml(text: str, schema: type[T], *, name: str) -> T:
    """Read TOML `text` as a `schema`; `name` is what errors call it. Raises `DataFileError`."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(f"{name}: is not valid TOML: {error}") from error
    return convert(document, schema, name=name)


def parse_json(body: bytes | str, schema: type[T], *, name: str) -> T:
    """Read one JSON value as a `schema`, numbers and all. Raises `DataFileError`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataFileError(f"{name}: is not valid JSON: {error}") from error
    return convert(document, schema, name=name)


def convert(document: Any, schema: type[T], *, name: str) -> T:
    """Check plain data (dicts, lists, scalars) against `schema`. Raises `DataFileError`."""
    _refuse_unknown_keys(document, schema, place="", name=name)
    try:
        return msgspec.convert(document, schema, strict=True)
    except msgspec.ValidationError as error:
        raise DataFileError(f"{name}: {_in_words(str(error))}") from error


def _in_words(message: str) -> str:
    """Msgspec's message with its JSONPath as a place that a reader of TOML knows."""
    text, separator, path = message.partition(" - at `$")
    if not separator:
        return text
    return f"{path.rstrip('`').lstrip('.')}: {text}"


def _refuse_unknown_keys(value: Any, schema: Any, *, place: str, name: str) -> None:
    """Walk `value` along `schema` and refuse table keys that no field has."""
    if dataclasses.is_dataclass(schema) and isinstance(schema, type):
        if isinstance(value, Mapping):  # anything else is for msgspec to refuse
            _refuse_in_table(value, schema, place=place, name=name)
        return
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            if _takes(option, value):
                _refuse_unknown_keys(value, option, place=place, name=name)
    elif isinstance(value, Mapping) and len(arguments) == 2:  # noqa: PLR2004 - key and value types
        for key, item in value.items():
            inner = f"{place}.{key}" if place else str(key)
            _refuse_unknown_keys(item, arguments[1], place=inner, name=name)
    elif isinstance(value, list) and arguments:
        for index, item in enumerate(value):
            _refuse_unknown_keys(item, arguments[0], place=f"{place}[{index}]", name=name)


def _refuse_in_table(value: Mapping[Any, Any], schema: type, *, place: str, name: str) -> None:
    """One table: its keys must be the dataclass's fields."""
    hints = typing.get_type_hints(schema)
    for key, item in value.items():
        inner = f"{place}.{key}" if place else str(key)
        if key not in hints:
            near = difflib.get_close_matches(str(key), list(hints), n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(hints)}"
            raise DataFileError(f"{name}: {inner}: unknown key{meant}")
        _refuse_unknown_keys(item, hints[key], place=inner, name=name)


def _takes(option: Any, value: Any) -> bool:
    """Whether one member of a union could hold `value`, by its outer shape alone."""
    shape = typing.get_origin(option) or option
    if dataclasses.is_dataclass(shape):
        return isinstance(value, Mapping)
    return isinstance(shape, type) and isinstance(value, (list, Mapping))
