"""A real `gateway run` over a simulated line, and the real commands, each its own process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.documents.signed import SigningKey
from hardware.api import LineSettings
from hardware.meters.model import ModelLibrary
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import Street

ROOT = Path(__file__).parents[3]
TARIFF = ROOT / "deploy" / "tariffs" / "demo.toml"
PROGRAM = [sys.executable, "-c", "from gateway.cli import main; main()"]
KEY = SigningKey.generate()


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self):
        return json.loads(self.out)


@dataclass
class Place:
    """One gateway's folder, with a street on its line."""

    folder: Path
    homes: int = 3
    street: Street = field(init=False)
    line: SimLine = field(init=False)
    daemon: subprocess.Popen | None = None

    def __post_init__(self) -> None:
        library = ModelLibrary()
        self.street = Street("cli", self.homes, [RegisterImage(library.get("sdm120"))])
        self.street.follow(time.monotonic, 1.0)
        self.line = SimLine(self.folder / "port", self.street.slaves(), LineSettings(9600))
        self.config.write_text(
            f"[gateway]\nid = 'GW-1'\n[time]\ntrust_system_clock = true\n"
            f"[keys.recharge]\noffice = '{KEY.public_text}'\n"
            f"[bus.rs485-0]\nport = '{self.folder / 'port'}'\npoll_interval_s = 0.2\n"
        )

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "data" / "gateway.sock"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GATEWAY_CONFIG": str(self.config),
            "GPIOZERO_PIN_FACTORY": "mock",
            "COLUMNS": "80",
        }

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [*PROGRAM, "run"], env=self.environment(), stderr=log, stdout=log
            )
        self.until(lambda: self.gateway("status", "--json").answer["daemon"]["running"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        daemon, self.daemon = self.daemon, None
        daemon.send_signal(number)
        return daemon.wait(10)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def gateway(self, *arguments: object, stdin: str = "") -> Done:
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            env=self.environment(),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def until(self, condition, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError, KeyError, ValueError):
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(f"not within {timeout_s} s\n{self.log()}")

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        self.line.close()


def note(recharge_id: str, account: str, amount_paise: int, gateway: str = "GW-1") -> str:
    body = {
        "v": 1,
        "gateway": gateway,
        "account": account,
        "recharge_id": recharge_id,
        "amount_paise": amount_paise,
        "currency": "INR",
    }
    return KEY.sign(json.dumps(body).encode(), "office", "recharge+jws")
