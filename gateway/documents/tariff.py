"""Tariff files: `core.tariff.Tariff` is the schema, this file reads, writes and names its content.

The ledger stores a tariff's text, so that each posted line can be explained years later.
"""

from pathlib import Path

from gateway.core.errors import TariffError
from gateway.core.tariff import Tariff
from gateway.documents import canonical
from gateway.documents.files import parse, read

_HINT = "deploy/tariffs has commented examples; check a file with: gateway tariff check FILE"


def load_tariff(path: Path) -> Tariff:
    """Read a tariff file. Raises `TariffError`, which names the file, the place and the fault."""
    return parse_tariff(read(path, TariffError), name=str(path))


def parse_tariff(text: str, *, name: str) -> Tariff:
    """Read a tariff's TOML text; `name` is what errors call it. Raises `TariffError`."""
    return parse(text, Tariff, TariffError, name=name, hint=_HINT)


def tariff_text(tariff: Tariff) -> str:
    """The tariff as TOML, which `parse_tariff` reads back as the same."""
    return canonical.to_toml(tariff)


def tariff_digest(tariff: Tariff) -> str:
    """SHA-256 (hex) of the content: the same for every file that says the same."""
    return canonical.digest(tariff)
