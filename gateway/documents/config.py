"""The configuration file: its schema, and the same with paths resolved and keys decoded.

Rules of this file: the `*Section` dataclasses are the schema, one per TOML table, and are what
`deploy/config.example.toml` explains. Everything that can be wrong is found here, at start, and
told with the file, the key and what to do. Relative paths are relative to the file.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.core.errors import ConfigError
from gateway.documents.keys import decode_public_key
from hardware.api import LineSettings
from hardware.datafile import DataFileError, load_toml

# Names that travel in MQTT topics and file names: no slash, wildcard, space or leading dot.
SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
MAX_KID_LENGTH = 64
# The kernel's limit for a Unix socket path, less its terminating zero.
MAX_SOCKET_PATH = 107
BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
PARITIES = ("N", "E", "O")
PROTOCOLS = ("3.1.1", "5")
MAX_PORT = 65535
MAX_KEEPALIVE_S = 3600


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """`[gateway]`: who this is and where it keeps its ledger."""

    id: str
    data_dir: str = "data"
    timezone: str = "Asia/Kolkata"
    policy: str | None = None
    models: str | None = None

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.id):
            raise ValueError(
                f"id {self.id!r} must be 1 to 64 letters, digits, - _ . and not begin with a dot: "
                "it is part of MQTT topics"
            )
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"timezone {self.timezone!r} is not known; write one such as Asia/Kolkata"
            ) from None


@dataclass(frozen=True, slots=True)
class MqttSection:
    """`[mqtt]`: the broker. Without this table the gateway works alone."""

    host: str
    port: int | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    keepalive_s: int = 60
    protocol: str = "3.1.1"
    allow_plain: bool = False

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise ValueError("host must name the broker, such as broker.example.org")
        if self.port is not None and not 0 < self.port <= MAX_PORT:
            raise ValueError(f"port {self.port} must be 1 to {MAX_PORT}")
        if not 0 < self.keepalive_s <= MAX_KEEPALIVE_S:
            raise ValueError(f"keepalive_s {self.keepalive_s} must be 1 to {MAX_KEEPALIVE_S}")
        if self.protocol not in PROTOCOLS:
            raise ValueError(f'protocol {self.protocol!r} must be "3.1.1" or "5"')
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username")
        self._refuse_careless()

    def _refuse_careless(self) -> None:
        if self.tls:
            return
        if self.ca_file or self.cert_file:
            raise ValueError("ca_file and cert_file are used only with tls = true")
        if not is_loopback(self.host) and not self.allow_plain:
            raise ValueError(
                f"the link to {self.host} would be readable and forgeable by anyone between: "
                "set tls = true, or allow_plain = true if another tunnel protects it"
            )


@dataclass(frozen=True, slots=True)
class KeysSection:
    """`[keys.recharge]` and `[keys.command]`: key name = public key, whom the gateway believes."""

    recharge: dict[str, str] = field(default_factory=dict)
    command: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table, keys in (("recharge", self.recharge), ("command", self.command)):
            for kid, text in keys.items():
                if not 0 < len(kid) <= MAX_KID_LENGTH:
                    raise ValueError(f"{table}: a key name has 1 to {MAX_KID_LENGTH} characters")
                try:
                    decode_public_key(text)
                except ValueError as error:
                    raise ValueError(f"{table}.{kid}: {error}") from error


@dataclass(frozen=True, slots=True)
class BusSection:
    """`[bus.NAME]`: one serial line with meters."""

    port: str
    baud: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    poll_interval_s: Decimal = Decimal(1)
    timeout_s: Decimal | None = None

    def __post_init__(self) -> None:
        if not self.port.strip():
            raise ValueError("port must name the serial port, such as /dev/ttyUSB0")
        if self.baud not in BAUDS:
            raise ValueError(f"baud {self.baud} must be one of {', '.join(map(str, BAUDS))}")
        if self.parity not in PARITIES:
            raise ValueError(f'parity {self.parity!r} must be "N", "E" or "O"')
        if self.stop_bits not in (1, 2):
            raise ValueError(f"stop_bits {self.stop_bits} must be 1 or 2")
        _refuse_outside(self.poll_interval_s, "poll_interval_s", "0.05", "900")
        if self.timeout_s is not None:
            _refuse_outside(self.timeout_s, "timeout_s", "0.02", "30")


@dataclass(frozen=True, slots=True)
class TimeSection:
    """`[time]`: which clocks may be believed."""

    trust_system_clock: bool = False
    trust_rtc: bool = True


@dataclass(frozen=True, slots=True)
class LocalSection:
    """`[local]`: where the commands reach the running gateway."""

    socket: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The whole file, as written."""

    gateway: GatewaySection
    mqtt: MqttSection | None = None
    keys: KeysSection = field(default_factory=KeysSection)
    bus: dict[str, BusSection] = field(default_factory=dict)
    time: TimeSection = field(default_factory=TimeSection)
    local: LocalSection = field(default_factory=LocalSection)

    def __post_init__(self) -> None:
        ports: dict[str, str] = {}
        for name, bus in self.bus.items():
            if not SAFE_NAME.fullmatch(name):
                raise ValueError(f"bus name {name!r} must be 1 to 64 letters, digits, - _ .")
            if bus.port in ports:
                raise ValueError(
                    f"bus.{name} and bus.{ports[bus.port]} name the same port {bus.port}: "
                    "one line has one master"
                )
            ports[bus.port] = name


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """The broker, with paths resolved."""

    host: str
    port: int
    tls: bool
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    username: str | None
    password_file: Path | None
    keepalive_s: int
    protocol: str


@dataclass(frozen=True, slots=True)
class BusConfig:
    """One serial line."""

    port: str
    settings: LineSettings
    poll_interval_s: float
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration, checked and resolved."""

    path: Path
    gateway_id: str
    data_dir: Path
    zone: ZoneInfo
    socket: Path
    policy: Path | None = None
    models: Path | None = None
    mqtt: MqttConfig | None = None
    recharge_keys: Mapping[str, bytes] = field(default_factory=dict)
    command_keys: Mapping[str, bytes] = field(default_factory=dict)
    buses: Mapping[str, BusConfig] = field(default_factory=dict)
    trust_system_clock: bool = False
    trust_rtc: bool = True


def mqtt_config(
    host: str,
    *,
    port: int | None = None,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    username: str | None = None,
    password_file: Path | None = None,
) -> MqttConfig:
    """A broker given by hand, under the same rules as `[mqtt]`; TLS when there is an authority.

    Raises `ConfigError`.
    """

    def text(path: Path | None) -> str | None:
        return str(path) if path is not None else None

    try:
        section = MqttSection(
            host,
            port,
            tls=ca_file is not None,
            ca_file=text(ca_file),
            cert_file=text(cert_file),
            key_file=text(key_file),
            username=username,
            password_file=text(password_file),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return _mqtt(section, Path.cwd())


def load_config(path: Path) -> Config:
    """Read and check the file. Raises `ConfigError`, which names the file and the key."""
    try:
        written = load_toml(path, ConfigFile)
    except DataFileError as error:
        raise ConfigError(
            str(error), hint="deploy/config.example.toml explains every key."
        ) from error
    base = path.absolute().parent
    data_dir = base / written.gateway.data_dir
    socket = base / written.local.socket if written.local.socket else data_dir / "gateway.sock"
    if len(str(socket).encode()) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"{path}: local.socket: {socket} is longer than {MAX_SOCKET_PATH} bytes",
            hint="Set [local] socket to a short path, such as /run/prepaid-gateway/gateway.sock.",
        )
    config = Config(
        path=path,
        gateway_id=written.gateway.id,
        data_dir=data_dir,
        zone=ZoneInfo(written.gateway.timezone),
        socket=socket,
        policy=_beside(base, written.gateway.policy),
        models=_beside(base, written.gateway.models),
        mqtt=_mqtt(written.mqtt, base) if written.mqtt is not None else None,
        recharge_keys=_keys(written.keys.recharge),
        command_keys=_keys(written.keys.command),
        buses={name: _bus(bus) for name, bus in written.bus.items()},
        trust_system_clock=written.time.trust_system_clock,
        trust_rtc=written.time.trust_rtc,
    )
    _refuse_missing(config)
    return config


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by its name alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse_outside(value: Decimal, name: str, low: str, high: str) -> None:
    # A NaN must be sorted out before it is compared: comparing it raises.
    if not value.is_finite() or not Decimal(low) <= value <= Decimal(high):
        raise ValueError(f"{name} {value} must be {low} to {high}")


def _mqtt(section: MqttSection, base: Path) -> MqttConfig:
    return MqttConfig(
        host=section.host.strip(),
        port=section.port or (8883 if section.tls else 1883),
        tls=section.tls,
        ca_file=_beside(base, section.ca_file),
        cert_file=_beside(base, section.cert_file),
        key_file=_beside(base, section.key_file),
        username=section.username,
        password_file=_beside(base, section.password_file),
        keepalive_s=section.keepalive_s,
        protocol=section.protocol,
    )


def _bus(section: BusSection) -> BusConfig:
    return BusConfig(
        port=section.port,
        settings=LineSettings(section.baud, section.parity, section.stop_bits),
        poll_interval_s=float(section.poll_interval_s),
        timeout_s=None if section.timeout_s is None else float(section.timeout_s),
    )


def _keys(written: Mapping[str, str]) -> Mapping[str, bytes]:
    return {kid: decode_public_key(text) for kid, text in written.items()}


def _beside(base: Path, written: str | None) -> Path | None:
    return None if written is None else base / written


def _refuse_missing(config: Config) -> None:
    """Files that must be there at start; those of the link may appear later, and it retries."""
    if config.policy is not None and not config.policy.is_file():
        raise ConfigError(
            f"{config.path}: gateway.policy: there is no file {config.policy}",
            hint="Point it to a policy file, such as those in deploy/policies, or leave it out.",
        )
    if config.models is not None and not config.models.is_dir():
        raise ConfigError(
            f"{config.path}: gateway.models: there is no directory {config.models}",
            hint="Point it to a directory of meter model files, or leave it out.",
        )
