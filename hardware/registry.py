"""From names to drivers: which model file, which bus. The way in for `gateway.app`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hardware.api import LineSettings, MeterSpec
from hardware.buses.port import serial_opener
from hardware.buses.rotation import MeterDriver
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary


def model_library(user_paths: Sequence[Path] = ()) -> ModelLibrary:
    """The shipped meter models, and those in the user's folders, which win."""
    return ModelLibrary(user_paths)


def open_bus(
    name: str,
    port: str,
    settings: LineSettings,
    library: ModelLibrary,
    *,
    poll_interval_s: float,
    timeout_s: float | None = None,
) -> Rs485Bus:
    """A bus on a serial port, not running yet; the port is opened by its `run`.

    `timeout_s` overrides what the models say, for a line with a slow converter in it.
    """

    def driver_for(meter: MeterSpec) -> MeterDriver:
        model = library.get(meter.model)
        if timeout_s is not None:
            model = replace(model, timeout_s=timeout_s)
        return ModbusMeter(meter, model)

    return Rs485Bus(
        name,
        port,
        settings,
        opener=serial_opener(port),
        driver_for=driver_for,
        poll_interval_s=poll_interval_s,
    )
