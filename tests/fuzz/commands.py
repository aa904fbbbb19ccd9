"""What people and programs on the machine bring: command lines, and lines on the local socket."""

import asyncio
import json
import os
import tempfile
from pathlib import Path

from click.testing import CliRunner

from gateway.app import App, Parts
from gateway.cli.root import cli
from gateway.documents.config import load_config
from gateway.web import rpc
from gateway.web.local_api import LocalApi
from hardware.api import Contact, MeterSpec
from hardware.sim.relay import SimContact, SimSwitch
from tests.fuzz.documents import ROOT, SPECS
from tests.fuzz.messages import KEY, NOTES, UNUSED
from tests.fuzz.target import Check, Target, demand
from tests.gateway.services.rig import HandBus, HandClock, tariff

TARIFF_FILE = next(iter(sorted(ROOT.glob("deploy/tariffs/*.toml"))))
EXIT_CODES = {0, 1, 2, 3}
# Programs that run until they are stopped.
NEVER_ENDS = ({"run"}, {"demo"}, {"serve"}, {"status"})
COMMAND_LINES = (
    "init", "init other --id GW-2", "status --json", "doctor", "doctor --json", "meter list",
    "meter add M1 --bus rs485-0 --address 1 --model sdm120", "meter list --json", "meter models",
    "meter read M1", "meter remove M1", "meter scan --bus rs485-0",
    "account open A-1 --meter M1 --switch gpio:17 --tariff t.toml --opening-balance 50.00",
    "account list --json", "account show A-1", "account statement A-1 --json", "account close A-1",
    "supply show A-1 --json", "supply lock A-1", "supply unlock A-1", "supply test A-1",
    "tariff check t.toml", "tariff explain t.toml --kwh 120", "tariff load t.toml --account A-1",
    "tariff list --json", "recharge apply note.jws", "recharge apply -", "sync status --json",
    "headend keygen key", "headend sign --key key --gateway GW-1 --account A-1 --amount 100",
    "headend reverse R-1 --key key --amount 1", "headend show GW-1 --json", "--version", "--help",
)  # fmt: skip


def command_lines() -> Check:
    """A command line, words divided by blanks: it ends with one of the known states, in words."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    runner, home = CliRunner(), Path(folder.name)
    (home / "t.toml").write_bytes(TARIFF_FILE.read_bytes())
    (home / "note.jws").write_bytes(NOTES[0])
    environment = {"GATEWAY_CONFIG": str(home / "gateway.toml"), "COLUMNS": "100"}

    def check(data: bytes) -> None:
        words = data.decode("utf-8", "surrogateescape").replace("\0", "").split(" ")
        # Nothing is to be written outside this folder, and nothing started that does not end.
        if any("/" in word or ".." in word or "~" in word for word in words) or not words:
            return
        if any(never <= set(words) for never in NEVER_ENDS) and "--json" not in words:
            return
        before = Path.cwd()
        os.chdir(folder.name)
        try:
            result = runner.invoke(cli, words, input=NOTES[0], env=environment)
        finally:
            os.chdir(before)
        fault = result.exception
        if fault is not None and not isinstance(fault, SystemExit):
            raise fault
        demand(result.exit_code in EXIT_CODES, f"it ended with {result.exit_code}")
        demand("Traceback" not in result.output, "a trace")

    return check


class _Writer:
    """The client's end, as the API sees it."""

    def __init__(self) -> None:
        self.sent, self.transport = bytearray(), self

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        return None


class _Gateway:
    """A whole application on a bus and a relay of paper, with one home whose credit is known."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        file = Path(self.folder.name) / "gateway.toml"
        key = f'[keys.recharge]\noffice-1 = "{UNUSED.public_text}"'
        file.write_text(f'[gateway]\nid = "GW-1"\n{key}')
        self.contact, bus = SimContact(closed=False), HandBus()
        bus.registers["M1"] = 1000
        parts = Parts(
            clock=HandClock(),
            buses={"rs485-0": bus},
            open_switch=self._open_switch,
            notify=lambda _: None,
        )
        self.app = App(load_config(file), parts)
        self.api = LocalApi(self.app)

    def _open_switch(self, spec: str, assumed: Contact) -> SimSwitch:
        return SimSwitch(spec, self.contact, with_feedback=False)

    async def move_in(self) -> None:
        await self.app.commissioning.add_meter(MeterSpec("M1", "rs485-0", 1, "sdm120"))
        await self.app.commissioning.open_account("A-1", "M1", "gpio:17", tariff(), 5000)
        await self.app.enforcement.cycle()


def local_lines() -> Check:
    """A line on the socket: answered in JSON, never by a failure of ours; credits need a key."""
    loop = asyncio.new_event_loop()

    async def started() -> _Gateway:
        gateway = _Gateway()
        await gateway.move_in()
        return gateway

    gateway = loop.run_until_complete(started())
    app = gateway.app

    def check(data: bytes) -> None:
        if any(word in data for word in MOVERS):
            return
        line, _, _ = data.partition(b"\n")
        if not line:
            return
        writer = _Writer()
        loop.run_until_complete(gateway.api._answer(line, writer))
        for reply in bytes(writer.sent).splitlines():
            message = json.loads(reply)
            error = message.get("error")
            demand(error is None or error["code"] != rpc.INTERNAL_ERROR, f"we failed: {error}")
        found = app.db.reader.execute("SELECT count(*) FROM entries WHERE kind = 'credit'")
        demand(found.fetchone()[0] == 0, "credited without a signature")
        demand(not app.books.account("A-1").holds and gateway.contact.closed, "held or switched")

    return check


# They move a relay, are meant to, and take their time over it. What they are asked wrongly is tried
# with the others: the same code reads the parameters.
MOVERS = (b"supply.test", b"supply.lock", b"supply.unlock", b"account.close", b"meter.scan")


def call(method: str, **params) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


LINES = (
    call("status"), call("sync.status"), call("meter.list"), call("tariff.list"),
    call("account.list", closed=True), call("account.show", account="A-1"),
    call("account.statement", account="A-1", first_day="2026-11-01", last_day=None),
    call("supply.list"), call("supply.show", account="A-1"),
    call("meter.add", meter="M2", bus="rs485-0", address=2, model="sdm120", max_w=9000),
    call("meter.remove", meter="M2"), call("meter.read", meter="M1"),
    call("tariff.load", tariff=TARIFF_FILE.read_text(), accounts=["A-1"]),
    call("account.open", account="A-2", meter="M2", switch="none",
         tariff=TARIFF_FILE.read_text(), opening_balance_paise=100),
    call("recharge.apply", note=NOTES[0].decode(), road="command"),
)  # fmt: skip

TARGETS = (
    Target(
        "command lines",
        command_lines,
        tuple(line.encode() for line in COMMAND_LINES),
        (*SPECS, b" --json", b" --help", b" -", b" --config x", b" A-1", b"--"),
        cost=60,
    ),
    Target(
        "local API lines",
        local_lines,
        LINES,
        (b'"\\ud800"', b'"id":', b'"params":', b'"account":', KEY.public_text.encode()),
        cost=20,
    ),
)
