"""What a planted bug is, and how it is put into a copy of the tree."""

from dataclasses import dataclass
from pathlib import Path

CORE, STORE, SERVICES = "tests/gateway/core", "tests/gateway/store", "tests/gateway/services"
SPINE, TEST_STORE = f"{SERVICES}/test_spine.py", f"{STORE}/test_store.py"
FAULTS = f"{SERVICES}/test_faults.py"
UNWRITABLE = f"{SERVICES}/test_spine_unwritable.py"
CRASH = "tests/crash/test_crash.py"
CUTS = f"{CRASH}::test_a_power_cut_loses_nothing_acknowledged_and_leaves_nothing_by_halves"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug. `old` stands in `file` exactly once; `tests` are those that must notice `new`."""

    name: str
    file: str
    old: str
    new: str
    cost: str  # what it would do to a consumer, or to the utility
    tests: tuple[str, ...]
    quick: bool = False  # tried in every test run
    simulated: bool = True  # whether the simulation could meet it at all

    def fits(self, root: Path) -> int:
        """How often `old` stands in the source: once, or the list is out of date."""
        return (root / self.file).read_text(encoding="utf-8").count(self.old)

    def plant(self, root: Path) -> str:
        """Put the bug in; returns the file's text as it was."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: its place in {self.file} is not to be found once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text
