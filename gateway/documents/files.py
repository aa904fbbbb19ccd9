"""Reading the files a clerk writes, with errors a clerk can act on."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from gateway.core.errors import DocumentError
from hardware.datafile import DataFileError, parse_toml

T = TypeVar("T")

# No rate, charge, percentage or limit has more digits before or after its point than this. It also
# keeps 1e999999 from becoming an integer that fills the memory.
MAX_DIGITS = 9
# A number in quotes is a decimal to the schema too.
_EXPONENT = re.compile(r"[-+]?[\d._]+[eE][-+]?\d+")
# A tariff order for a whole state fits in a few kilobytes.
MAX_FILE_BYTES = 1_000_000


def read(path: Path, error_type: type[DocumentError]) -> str:
    """The text of a file. Raises `error_type`."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise error_type(
            f"{path}: cannot be read: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if len(body) > MAX_FILE_BYTES:
        raise error_type(f"{path}: is larger than {MAX_FILE_BYTES} bytes", hint="Is it the file?")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise error_type(
            f"{path}: is not UTF-8 text (byte {error.start})", hint="Save it as UTF-8."
        ) from error


def parse(
    text: str, schema: type[T], error_type: type[DocumentError], *, name: str, hint: str
) -> T:
    """Read TOML `text` as a `schema`. Raises `error_type`."""
    _refuse_extreme(text, error_type, name=name, hint=hint)
    try:
        return parse_toml(text, schema, name=name)
    except DataFileError as error:
        raise error_type(str(error), hint=hint) from error
    except ArithmeticError as error:  # "inf" in quotes is a decimal to the schema
        raise error_type(f"{name}: holds a number beyond any use", hint=hint) from error


# Keys whose text is for people: "1E5" may well be the name of a tariff.
_PROSE = ("name", "source")


def _refuse_extreme(text: str, error_type: type[DocumentError], *, name: str, hint: str) -> None:
    """Refuse numbers beyond any use before anything calculates with them."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
        fault = _extreme(document, "")
    except tomllib.TOMLDecodeError:
        return  # the reader says what is wrong with it
    except RecursionError as error:
        raise error_type(f"{name}: is nested beyond any use", hint=hint) from error
    if fault:
        raise error_type(f"{name}: {fault}", hint=hint)


def _extreme(value: Any, place: str) -> str:
    """Where a number is absurdly large or fine; empty when none is."""
    prose = place.rpartition(".")[2] in _PROSE
    if isinstance(value, str) and not prose and _EXPONENT.fullmatch(value.strip()):
        return f"{place}: {value} must be written without an exponent"
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent  # a word for NaN and infinity
        too_fine = not isinstance(exponent, int) or exponent < -MAX_DIGITS
        if too_fine or value.adjusted() >= MAX_DIGITS:
            return f"{place}: {value} is not a plausible number"
        return ""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{place}.{key}" if place else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{place}[{index}]", item) for index, item in enumerate(value)]
    return next(filter(None, (_extreme(item, where) for where, item in inner)), "")
