"""A meter model is a data file: what it is, how its line is set, and where each quantity lies.

Rules of this file: the dataclasses are the schema; a file that loads can be read from. Users' own
files win over those that come with the program, so that a wrong figure can be put right on site.
The files are described for people in `models/README.md`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardware.api import LineSettings, ModelError, ModelUnknown, Quantity
from hardware.datafile import DataFileError, load_toml
from hardware.meters.registers import Register, SerialRegister, unit_factor
from hardware.protocols.modbus import MAX_READ_REGISTERS

SHIPPED = Path(__file__).parent / "models"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
_TIMEOUT_S_MAX = 5.0  # a meter that needs longer would stop the line for all others
_GAP_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class MeterModel:
    """One meter model, as its file gives it."""

    name: str
    maker: str
    description: str
    source: str  # where the figures come from
    registers: Mapping[Quantity, Register]
    validity: str = ""  # which figures somebody has verified on a meter, and which not
    line: LineSettings = field(default_factory=LineSettings)  # as the meter leaves the factory
    timeout_s: float = 0.3  # from the end of a request to the start of the reply
    gap_s: float = 0.0  # rest that the meter needs between its reply and the next request to it
    max_registers: int = MAX_READ_REGISTERS  # in one request
    serial: SerialRegister | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name {self.name!r}: write small letters, digits, - and _ (32 at most)"
            )
        if Quantity.ENERGY_IMPORT not in self.registers:
            raise ValueError(
                f"registers.{Quantity.ENERGY_IMPORT.value} is missing: nothing to charge by"
            )
        for quantity, register in self.registers.items():
            unit_factor(register.unit, quantity)
        widest = max(register.count for register in self.registers.values())
        if not widest <= self.max_registers <= MAX_READ_REGISTERS:
            raise ValueError(
                f"max_registers {self.max_registers} is not {widest} to {MAX_READ_REGISTERS}"
            )
        if not 0 < self.timeout_s <= _TIMEOUT_S_MAX:
            raise ValueError(
                f"timeout_s {self.timeout_s} is not above 0 and up to {_TIMEOUT_S_MAX}"
            )
        if not 0 <= self.gap_s <= _GAP_S_MAX:
            raise ValueError(f"gap_s {self.gap_s} is not between 0 and {_GAP_S_MAX}")
        _check_line(self.line)


def _check_line(line: LineSettings) -> None:
    if line.baud not in _BAUDS:
        raise ValueError(f"line.baud {line.baud} is not one of {', '.join(map(str, _BAUDS))}")
    if line.parity not in ("N", "E", "O"):
        raise ValueError(f"line.parity {line.parity!r} is not N, E or O")
    if line.stop_bits not in (1, 2):
        raise ValueError(f"line.stop_bits {line.stop_bits} is not 1 or 2")


def load_model(path: Path) -> MeterModel:
    """Read one model file. Raises `ModelError` that names the file and the place in it."""
    try:
        model = load_toml(path, MeterModel)
    except DataFileError as error:
        raise ModelError(
            str(error), hint="Correct the file; compare with a shipped one."
        ) from error
    if model.name != path.stem:
        raise ModelError(
            f"{path}: its name is {model.name!r}, but the file is called {path.name}",
            hint="Rename the file, or write the file's name into it.",
        )
    return model


class ModelLibrary:
    """Finds models by name: in the user's folders first, in the order given, then as shipped."""

    def __init__(self, user_paths: Sequence[Path] = (), *, shipped: Path = SHIPPED) -> None:
        self._folders = (*user_paths, shipped)
        self._loaded: dict[str, MeterModel] = {}

    def names(self) -> list[str]:
        """The names of all model files, sorted. A file that is listed may still be faulty."""
        return sorted(self._files())

    def get(self, name: str) -> MeterModel:
        """The model called `name`. Raises `ModelUnknown`, or `ModelError` for a faulty file."""
        if name not in self._loaded:
            files = self._files()
            if name not in files:
                raise self._unknown(name, list(files))
            self._loaded[name] = load_model(files[name])
        return self._loaded[name]

    def load_all(self) -> tuple[list[MeterModel], list[ModelError]]:
        """Every model that loads, and what is wrong with those that do not."""
        models: list[MeterModel] = []
        faults: list[ModelError] = []
        for name in self.names():
            try:
                models.append(self.get(name))
            except ModelError as fault:
                faults.append(fault)
        return models, faults

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in reversed(self._folders):  # earlier folders overwrite later ones
            found.update({path.stem: path for path in sorted(folder.glob("*.toml"))})
        return found

    def _unknown(self, name: str, known: list[str]) -> ModelUnknown:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"
        return ModelUnknown(f"there is no meter model {name!r}{meant}")
