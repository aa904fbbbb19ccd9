"""The floors of the building: who may import whom, and which library lives where.

A module imports only from lower floors. The tables below are the architecture; a new arrow or a new
library is a decision, and is made here.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path.relative_to(ROOT)
    for package in ("gateway", "hardware")
    for path in (ROOT / package).rglob("*.py")
)
BY_NAME = {str(path): path for path in SOURCES}

PORTS = {"hardware.api", "hardware.datafile"}
DRIVERS = {"hardware.buses", "hardware.meters", "hardware.relays", "hardware.sim"}
HARDWARE = PORTS | DRIVERS | {"hardware.systemd", "hardware.protocols", "hardware.registry"}
PRODUCT = {"gateway.core", "gateway.documents", "gateway.store", "gateway.link", "gateway.services"}

# What each unit may import besides itself. `hardware` never imports `gateway`; what is said of
# `gateway` and `hardware` themselves is for their `__init__`: a version, and nothing to import.
ALLOWED: dict[str, set[str]] = {
    "gateway": set(),
    "hardware": set(),
    "gateway.core": set(),
    "hardware.api": set(),
    "hardware.datafile": set(),
    "hardware.systemd": set(),
    "hardware.protocols": PORTS,
    "hardware.meters": PORTS | {"hardware.protocols"},
    "hardware.buses": PORTS | {"hardware.protocols", "hardware.systemd"},
    "hardware.relays": PORTS | {"hardware.systemd"},
    "hardware.sim": PORTS | {"hardware.protocols", "hardware.meters"},
    "hardware.registry": HARDWARE,
    "gateway.documents": PORTS | {"gateway.core"},
    "gateway.store": {"gateway.core", "hardware.api"},
    "gateway.link": {"gateway.core", "gateway.documents"},
    # Services see the ports, never a driver.
    "gateway.services": PORTS | PRODUCT,
    "gateway.headend": PORTS | {"gateway.core", "gateway.documents", "gateway.link"},
    # The only module that picks drivers.
    "gateway.app": HARDWARE | PRODUCT,
    "gateway.web": HARDWARE | PRODUCT | {"gateway.app"},
    # A whole street in one process: the application, a head-end and simulated homes.
    "gateway.demo": HARDWARE | PRODUCT | {"gateway.app", "gateway.headend", "gateway.web"},
    "gateway.cli": HARDWARE
    | PRODUCT
    | {"gateway.app", "gateway.demo", "gateway.headend", "gateway.web"},
}

# Each third-party library, and the only modules that may import it.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "aiomqtt": ("gateway/link/*.py",),
    "paho": ("gateway/link/*.py",),  # aiomqtt's own: a constant or two
    "amqtt": ("gateway/headend/broker.py",),  # the demonstration's broker
    "click": ("gateway/cli/*.py",),
    "gpiod": ("hardware/relays/pins.py", "hardware/relays/gpio.py"),
    # mock.py: the pins of a machine without a GPIO chip are gpiozero pins as well.
    "gpiozero": tuple(f"hardware/relays/{name}.py" for name in ("pins", "gpio", "mock")),
    "joserfc": ("gateway/documents/signed.py",),
    "msgspec": ("hardware/datafile.py",),
    "rich": ("gateway/cli/render.py", "gateway/demo/view.py"),
    "serial": ("hardware/buses/port.py",),
    "serial_asyncio": ("hardware/buses/port.py",),
    "sqlite_utils": ("gateway/store/schema.py",),
}

# The standard library's pure part: no clock, no input or output, no tasks, no logging.
PURE = {
    *("calendar", "collections", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools"),
    *("functools", "itertools", "re", "types", "typing", "zoneinfo"),
}
PURE_FILES = [
    *(name for name in BY_NAME if name.startswith("gateway/core/")),
    "hardware/api.py",
]
# Seconds may be floats; money and energy never are.
SECONDS_FILES = {"gateway/core/register.py", "gateway/core/switching.py"}
CLOCK_CALLS = {"now", "utcnow", "today", "time", "monotonic"}


def tree_of(name: str) -> ast.Module:
    """The parsed source of a file, by its path from the root."""
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def unit_of(module: str) -> str:
    """The part of the building a dotted name lies in: its first two words."""
    return ".".join(module.split(".")[:2])


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every dotted name a file imports, wherever in it, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                known = unit_of(inner) in ALLOWED and base in ("gateway", "hardware")
                yield (inner if known else base), node.lineno


def arrows_that_go_up(module: str, tree: ast.Module) -> list[str]:
    """Imports of this module that its floor does not allow."""
    own = unit_of(module)
    allowed = ALLOWED[own] | {own, "gateway"} if own.startswith("gateway") else ALLOWED[own] | {own}
    return [
        f"line {line}: {own} may not import {target}"
        for target, line in imported(tree)
        if target.split(".")[0] in ("gateway", "hardware") and unit_of(target) not in allowed
    ]


def libraries_out_of_place(name: str, tree: ast.Module) -> list[str]:
    """Third-party imports of this file that the table does not give it."""
    faults = []
    for target, line in imported(tree):
        library = target.split(".")[0]
        if library in sys.stdlib_module_names or library in ("gateway", "hardware"):
            continue
        places = LIBRARIES.get(library, ())
        if not any(fnmatch(name, place) for place in places):
            faults.append(f"line {line}: {library} belongs in {', '.join(places) or 'no module'}")
    return faults


@pytest.mark.parametrize("name", BY_NAME)
def test_a_module_imports_only_from_lower_floors(name):
    parts = BY_NAME[name].with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    assert unit_of(module) in ALLOWED, f"{name}: give its unit a floor in ALLOWED"
    assert arrows_that_go_up(module, tree_of(name)) == []


@pytest.mark.parametrize("name", BY_NAME)
def test_each_library_is_imported_in_its_own_place(name):
    assert libraries_out_of_place(name, tree_of(name)) == []


@pytest.mark.parametrize("name", PURE_FILES)
def test_the_core_uses_the_pure_standard_library_alone(name):
    foreign = {target.split(".")[0] for target, _ in imported(tree_of(name))} - PURE
    assert foreign <= {"gateway"}


@pytest.mark.parametrize("name", PURE_FILES)
def test_the_core_asks_no_clock(name):
    calls = [
        f"line {node.lineno}: .{node.func.attr}()"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCK_CALLS
        and not (node.func.attr == "time" and not node.args and name.endswith("policy.py"))
    ]
    assert calls == []


@pytest.mark.parametrize(
    "name", [name for name in PURE_FILES if "core" in name and name not in SECONDS_FILES]
)
def test_no_float_comes_near_money_or_energy(name):
    assert floats_in(tree_of(name)) == []


def floats_in(tree: ast.Module) -> list[str]:
    """Float literals and uses of `float`, anywhere."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hardware.meters.modbus", "import gateway.core.units"),
        ("hardware.meters.modbus", "from gateway import core"),
        ("gateway.core.account", "from hardware.api import Reading"),
        ("gateway.core.account", "def f():\n    from gateway.store import ledger"),
        ("gateway.services.metering", "from hardware.buses.rs485 import Bus"),
        ("gateway.services.metering", "from hardware import relays"),
        ("gateway.store.ledger", "from gateway.services import live"),
        ("hardware.protocols.modbus", "import hardware.buses.port"),
    ],
)
def test_an_arrow_that_goes_up_is_seen(module, source):
    assert arrows_that_go_up(module, ast.parse(source))


def test_a_library_out_of_place_or_unknown_is_seen():
    tree = ast.parse("import msgspec.json\nfrom requests import get\nimport os")
    assert len(libraries_out_of_place("gateway/core/units.py", tree)) == 2
    assert libraries_out_of_place("hardware/datafile.py", ast.parse("import msgspec")) == []


@pytest.mark.parametrize("source", ["x = 0.5", "y: float", "float('1')", "f(1e3)"])
def test_a_float_is_seen(source):
    assert floats_in(ast.parse(source))
    assert floats_in(ast.parse("x = 5; y = 'float 0.5'")) == []
