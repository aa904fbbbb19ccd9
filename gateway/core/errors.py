"""Everything the gateway refuses or cannot do, as a tree a caller can guess.

`GatewayError` is what a person may cause and mend; its `hint` is the next thing to try.
`InvariantBroken` is a bug or a damaged ledger: it is deliberately outside that tree, so that no
handler written for people's mistakes can swallow it. It stops the process.
"""


class GatewayError(Exception):
    """Root of all errors with a way out. `hint` says what to try next."""

    hint: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class DocumentError(GatewayError, ValueError):
    """A file or message is not what it should be."""


class ConfigError(DocumentError):
    """The configuration file cannot be used."""


class TariffError(DocumentError):
    """A tariff file cannot be used."""


class PolicyError(DocumentError):
    """A policy file cannot be used."""


class NotFound(GatewayError, LookupError):
    """A name that nothing here bears."""


class AccountUnknown(NotFound):
    """No such account."""

    hint = "List the accounts with: gateway account list"


class MeterUnknown(NotFound):
    """No such meter."""

    hint = "List the meters with: gateway meter list"


class BusUnknown(NotFound):
    """No such bus in the configuration."""

    hint = "Add it to the configuration file as [bus.NAME] with a port."


class Refused(GatewayError):
    """The request is understood, and the answer is no."""


class AlreadyExists(Refused):
    """The name, meter or switch is in use."""


class InUse(Refused):
    """Something else still depends on it."""


class MeterNotProven(Refused):
    """No good register reading is at hand, so nothing may be opened or charged on this meter."""

    hint = "Read it with: gateway meter read NAME"


class StoreError(GatewayError):
    """The database cannot be used as it is."""


class DatabaseMissing(StoreError, FileNotFoundError):
    """There is no database where the configuration says."""

    hint = "Start the gateway once with: gateway run"


class DatabaseDamaged(StoreError):
    """The database fails SQLite's own check."""

    hint = "Keep the file as it is, and restore a copy; supply stays as it is meanwhile."


class DatabaseBusy(StoreError, TimeoutError):
    """Another process holds the database's write lock."""

    hint = "Only one gateway may run on a data directory: stop the other one."


class DaemonUnreachable(GatewayError, ConnectionError):
    """The gateway daemon does not answer on its local socket."""

    hint = "Start it with: gateway run (or: systemctl start prepaid-gateway)"


class InvariantBroken(RuntimeError):
    """A rule that must always hold does not. Never caught: the process stops and says which."""
