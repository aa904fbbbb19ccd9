"""A real gateway process on a simulated line, for tests and measurements from outside it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.cli import client
from gateway.core.account import AccountBook
from gateway.core.errors import GatewayError
from gateway.core.moment import Moment, Trust
from gateway.core.tariff import Tariff
from gateway.documents.config import load_config
from gateway.documents.tariff import tariff_digest, tariff_text
from gateway.store import ledger, outbox, registry
from gateway.store.database import Database, InlineRunner
from gateway.store.registry import AccountRow, MeterRow
from hardware.sim.street import Street

ROOT = Path(__file__).parents[1]
BUS = "rs485-0"
MAIN = "from gateway.cli import main; main()"


@dataclass
class Daemon:
    """`gateway run` in a folder of its own; start, kill and start again."""

    folder: Path
    more_config: str = ""
    poll_interval_s: float = 0.2
    process: subprocess.Popen | None = None
    started_at_s: float = 0.0
    config_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.config_file = self.folder / "gateway.toml"
        self.config_file.write_text(
            f"[gateway]\nid = 'GW-1'\ndata_dir = 'data'\n{self.more_config}\n"
            f"[bus.{BUS}]\nport = '{self.line}'\npoll_interval_s = {self.poll_interval_s}\n"
        )
        self.config = load_config(self.config_file)

    @property
    def line(self) -> Path:
        return self.folder / "line"

    def commission(self, street: Street, tariff: Tariff, opening_paise: int) -> None:
        """Write meters and accounts for a whole street, as if a lineman had been there."""
        db = Database(self.config.data_dir, InlineRunner())
        now = Moment(datetime.now(UTC), Trust.NONE)

        def write(tx) -> None:
            tariff_id = registry.add_tariff(
                tx, tariff_digest(tariff), tariff.name, tariff_text(tariff), 0
            )
            for number, home in enumerate(street.homes.values(), start=1):
                meter = f"M{number}"
                registry.add_meter(
                    tx, MeterRow(meter, BUS, number, home.meter.model, None, 200_000, 0)
                )
                switch = f"gpio:{number + 1}" if number <= 25 else "none"
                registry.add_account(tx, AccountRow(home.name, meter, switch, tariff_id, 0))
                book = AccountBook(
                    home.name, opening_paise, home.meter.register_wh, now.utc.date(), False
                )
                rows = [ledger.as_event(row) for row in ledger.append_opening(tx, book, now)]
                outbox.put(tx, "ledger.entries", home.name, {"entries": rows}, now)

        db.write_now(write)
        db.close()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.started_at_s = time.monotonic()
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, "run", "--config", str(self.config_file)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "GPIOZERO_PIN_FACTORY": "mock", "PYTHONPATH": str(ROOT)},
            )

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(20)
        self.process = None
        return status

    def ask(self, method: str, **params: Any) -> Any:
        return client.call(self.config.socket, method, params, timeout_s=5.0)

    def wait_for(self, condition, timeout_s: float = 15.0) -> float:
        """Poll until `condition(self)` is true; returns seconds since the process was started."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(GatewayError, OSError):
                if condition(self):
                    return time.monotonic() - self.started_at_s
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-3000:])
            time.sleep(0.01)
        raise AssertionError(
            f"not within {timeout_s} s:\n{(self.folder / 'log').read_text()[-3000:]}"
        )
