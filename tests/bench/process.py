"""The daemon as a process with 32 meters: start to first reading, memory, processor time."""

import os
import tempfile
import time
from pathlib import Path

from hardware.api import LineSettings
from hardware.meters.model import ModelLibrary
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import Street
from tests.bench.figures import Figure
from tests.daemon import Daemon
from tests.gateway.services.rig import RUPEE, tariff

METERS = 32
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def measure(seconds: float) -> list[Figure]:
    """Start the daemon on a full line at 9600 baud and watch it."""
    street = Street(1, METERS, [RegisterImage(ModelLibrary().get("sdm120"))])
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        daemon = Daemon(Path(name), poll_interval_s=1.0)
        daemon.commission(street, tariff("5.00"), 1000 * RUPEE)
        with SimLine(daemon.line, street.slaves(), LineSettings(9600)):
            daemon.start()
            assert daemon.process is not None
            pid = daemon.process.pid
            first_s = daemon.wait_for(
                lambda d: any(m["reads"] for m in d.ask("meter.list")), timeout_s=30
            )
            time.sleep(10)
            before_s = _processor_s(pid)
            reads = sum(meter["reads"] for meter in daemon.ask("meter.list"))
            time.sleep(seconds)
            busy_s = _processor_s(pid) - before_s
            reads = sum(meter["reads"] for meter in daemon.ask("meter.list")) - reads
            memory_mb = _resident_mb(pid)
            daemon.kill(15)
    return [
        Figure("start of the process to the first reading", first_s, "s", "< 2"),
        Figure("resident memory with 32 meters", memory_mb, "MB", "< 60"),
        Figure("processor share with 32 meters on a full line", 100 * busy_s / seconds, "%"),
        Figure("processor time for 1,000 readings", 1000 * busy_s / max(reads, 1), "s"),
    ]
