"""The local API's methods that only read: the same answers with and without a running gateway.

Rules of this file: a method is a parameter dataclass and a function from a `Source` to plain data.
The commands call this table themselves when no gateway runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from gateway.services import overview, queries
from gateway.services.queries import Source
from gateway.web.rpc import INVALID_PARAMS, METHOD_UNKNOWN, RequestError
from hardware.datafile import DataFileError, T, convert


@dataclass(frozen=True, slots=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True, slots=True)
class AccountName:
    """One account."""

    account: str


@dataclass(frozen=True, slots=True)
class AccountListing:
    """Which accounts."""

    closed: bool = False


@dataclass(frozen=True, slots=True)
class StatementSpan:
    """One account, and the first and last local day as `YYYY-MM-DD`."""

    account: str
    first_day: date | None = None
    last_day: date | None = None


Reader = Callable[[Source, Any], Any]

READERS: Mapping[str, tuple[type, Reader]] = {
    "status": (Nothing, lambda source, _: overview.status(source)),
    "sync.status": (Nothing, lambda source, _: overview.sync_status(source)),
    "meter.list": (Nothing, lambda source, _: overview.meter_list(source)),
    "tariff.list": (Nothing, lambda source, _: queries.tariff_list(source)),
    "account.list": (
        AccountListing,
        lambda source, asked: queries.account_list(source, closed=asked.closed),
    ),
    "account.show": (
        AccountName,
        lambda source, asked: queries.account_show(source, asked.account),
    ),
    "account.statement": (
        StatementSpan,
        lambda source, asked: queries.statement(
            source, asked.account, asked.first_day, asked.last_day
        ),
    ),
    "supply.list": (Nothing, lambda source, _: queries.supply_list(source)),
    "supply.show": (AccountName, lambda source, asked: queries.supply_show(source, asked.account)),
}


def read(source: Source, method: str, params: Mapping[str, Any]) -> Any:
    """Answer a reading method. Raises `RequestError` or a `GatewayError`."""
    try:
        schema, reader = READERS[method]
    except KeyError:
        raise RequestError(METHOD_UNKNOWN, f"there is no method {method}") from None
    return reader(source, parameters(params, schema, method))


def parameters(params: Mapping[str, Any], schema: type[T], method: str) -> T:
    """Check a call's parameters. Raises `RequestError`."""
    try:
        return convert(dict(params), schema, name=method)
    except DataFileError as error:
        raise RequestError(INVALID_PARAMS, str(error)) from error
