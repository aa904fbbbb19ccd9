"""The local API's methods that need the running gateway: they change something, or use a line.

Rules of this file: a method is a parameter dataclass and a coroutine over the `App`'s services.
What a person typed is checked here, before a service sees it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.errors import BusUnknown
from gateway.core.units import PAISE_PER_RUPEE
from gateway.documents.config import SAFE_NAME
from gateway.documents.tariff import parse_tariff
from gateway.services import overview, queries
from gateway.services.commissioning import DEFAULT_MAX_W
from gateway.services.lineman import Lineman
from gateway.services.queries import Live, Source
from gateway.store import registry
from gateway.web.reading import AccountName, parameters
from gateway.web.rpc import METHOD_UNKNOWN, RequestError
from gateway.web.scanning import ScanAsked, choose_bus, run_scan
from hardware.api import MeterSpec

if TYPE_CHECKING:
    from gateway.app import App

MAX_ADDRESS = 247  # of a Modbus unit
MAX_SUPPLY_W = 1_000_000  # a low-tension supply of a megawatt does not exist
MAX_REASON = 200
MAX_BALANCE_PAISE = 10_000_000 * PAISE_PER_RUPEE  # of an opening; more is a slip of the keyboard

OnProgress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class AccountOpening:
    """`tariff` is the text of a tariff file, `tariff_file` what errors call it."""

    account: str
    meter: str
    switch: str
    tariff: str
    opening_balance_paise: int
    tariff_file: str = "tariff"

    def __post_init__(self) -> None:
        _check_name(self.account, "account")
        if abs(self.opening_balance_paise) > MAX_BALANCE_PAISE:
            raise ValueError(f"opening_balance_paise {self.opening_balance_paise} is beyond belief")


@dataclass(frozen=True, slots=True)
class HoldWish:
    """Which account, and why: it stands in the supply journal."""

    account: str
    reason: str = "by hand"

    def __post_init__(self) -> None:
        if not self.reason.strip() or len(self.reason) > MAX_REASON:
            raise ValueError(f"reason must have 1 to {MAX_REASON} characters")


@dataclass(frozen=True, slots=True)
class MeterAdding:
    """Where a meter is, what it is, and the most its supply can deliver."""

    meter: str
    bus: str
    address: int
    model: str
    max_w: int = DEFAULT_MAX_W

    def __post_init__(self) -> None:
        _check_name(self.meter, "meter")
        if not 1 <= self.address <= MAX_ADDRESS:
            raise ValueError(f"address {self.address} must be 1 to {MAX_ADDRESS}")
        if not 1 <= self.max_w <= MAX_SUPPLY_W:
            raise ValueError(f"max_w {self.max_w} must be 1 to {MAX_SUPPLY_W}")


@dataclass(frozen=True, slots=True)
class MeterName:
    """One meter."""

    meter: str


@dataclass(frozen=True, slots=True)
class TariffLoading:
    """The text of a tariff file; without accounts, for all that have a tariff of its name."""

    tariff: str
    tariff_file: str = "tariff"
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RechargeNote:
    """A compact JWS, and by which road it came."""

    note: str
    road: str = "command"

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.road):
            raise ValueError("road must be a short word")


class Acting:
    """The methods, over one running gateway."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.lineman = Lineman(app.books, app.enforcement)
        self._methods: Mapping[str, tuple[type, Callable[[Any, OnProgress], Awaitable[Any]]]] = {
            "account.open": (AccountOpening, self._account_open),
            "account.close": (AccountName, self._account_close),
            "supply.lock": (HoldWish, self._supply_lock),
            "supply.unlock": (HoldWish, self._supply_unlock),
            "supply.test": (AccountName, self._supply_test),
            "meter.add": (MeterAdding, self._meter_add),
            "meter.remove": (MeterName, self._meter_remove),
            "meter.read": (MeterName, self._meter_read),
            "meter.scan": (ScanAsked, self._meter_scan),
            "tariff.load": (TariffLoading, self._tariff_load),
            "recharge.apply": (RechargeNote, self._recharge_apply),
        }

    def source(self) -> Source:
        """Where an answer comes from, now."""
        app = self._app
        live = Live(
            books=app.books,
            enforcement=app.enforcement,
            buses=app.buses,
            health=app.health,
            sync=app.sync,
            recharging=app.recharging,
        )
        return Source(
            app.config.gateway_id,
            app.db.reader,
            app.config.zone,
            app.books.policy,
            app.clock.now,
            live,
        )

    def knows(self, method: str) -> bool:
        """Whether this is one of the methods here."""
        return method in self._methods

    async def act(self, method: str, params: Mapping[str, Any], on_progress: OnProgress) -> Any:
        """Do what a method says. Raises `RequestError`, a `GatewayError` or a `HardwareError`."""
        if method not in self._methods:
            raise RequestError(METHOD_UNKNOWN, f"there is no method {method}")
        schema, work = self._methods[method]
        return await work(parameters(params, schema, method), on_progress)

    # --- accounts and supply -----------------------------------------------------------------

    async def _account_open(self, asked: AccountOpening, _: OnProgress) -> Any:
        tariff = parse_tariff(asked.tariff, name=asked.tariff_file)
        await self._app.commissioning.open_account(
            asked.account, asked.meter, asked.switch, tariff, asked.opening_balance_paise
        )
        await self.lineman.settle(asked.account)
        return queries.account_show(self.source(), asked.account)

    async def _account_close(self, asked: AccountName, _: OnProgress) -> Any:
        await self._app.commissioning.close_account(asked.account)
        return queries.account_show(self.source(), asked.account)

    async def _supply_lock(self, asked: HoldWish, _: OnProgress) -> Any:
        changed = await self.lineman.lock(asked.account, asked.reason)
        return queries.supply_show(self.source(), asked.account) | {"changed": changed}

    async def _supply_unlock(self, asked: HoldWish, _: OnProgress) -> Any:
        changed = await self.lineman.unlock(asked.account, asked.reason)
        return queries.supply_show(self.source(), asked.account) | {"changed": changed}

    async def _supply_test(self, asked: AccountName, on_progress: OnProgress) -> Any:
        return await self.lineman.test(asked.account, on_progress)

    # --- meters ------------------------------------------------------------------------------

    async def _meter_add(self, asked: MeterAdding, _: OnProgress) -> Any:
        spec = MeterSpec(asked.meter, asked.bus, asked.address, asked.model)
        identity, reading = await self._app.commissioning.add_meter(spec, asked.max_w)
        return {
            "meter": asked.meter,
            "bus": asked.bus,
            "address": asked.address,
            "model": identity.model,
            "serial": identity.serial,
            "max_w": asked.max_w,
            "values": overview.reading_values(reading),
        }

    async def _meter_remove(self, asked: MeterName, _: OnProgress) -> Any:
        await self._app.commissioning.remove_meter(asked.meter)
        return {"meter": asked.meter, "removed": True}

    async def _meter_read(self, asked: MeterName, _: OnProgress) -> Any:
        row = registry.meter(self._app.db.reader, asked.meter)
        bus = self._app.buses.get(row.bus)
        if bus is None:
            raise BusUnknown(f"meter {row.name} is on bus {row.bus}, which is not configured")
        reading = await bus.read_now(row.name)
        return {
            "meter": row.name,
            "model": row.model,
            "serial": row.serial,
            "at": self._app.clock.now().iso(),
            "values": overview.reading_values(reading),
        }

    async def _meter_scan(self, asked: ScanAsked, on_progress: OnProgress) -> Any:
        bus = choose_bus(self._app.buses, asked.bus)
        meters = registry.meters(self._app.db.reader)
        return await run_scan(bus, asked, self._app.library, meters, on_progress)

    # --- tariffs and recharges ---------------------------------------------------------------

    async def _tariff_load(self, asked: TariffLoading, _: OnProgress) -> Any:
        tariff = parse_tariff(asked.tariff, name=asked.tariff_file)
        accounts = await self._app.commissioning.load_tariff(tariff, asked.accounts)
        shown = [queries.account_show(self.source(), name) for name in accounts]
        return {"tariff": tariff.name, "verified": tariff.verified, "accounts": shown}

    async def _recharge_apply(self, asked: RechargeNote, _: OnProgress) -> Any:
        answer = await self._app.recharging.apply(asked.note.encode(), asked.road)
        return {"outcome": answer.outcome.value, "receipt": dict(answer.body)}


def _check_name(name: str, what: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise ValueError(
            f"{what} {name!r} must be 1 to 64 letters, digits, - _ . and not begin with a dot"
        )
