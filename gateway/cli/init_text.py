"""The text of a new configuration. `deploy/config.example.toml` explains every key there is."""

from collections.abc import Sequence

_HEAD = """\
# Configuration of this prepaid gateway: gateway run --config FILE
# Relative paths are relative to this file. Meters and accounts are not configured here: they live
# in the gateway's database (gateway meter add, gateway account open).

[gateway]
# Who this gateway is. The head-end knows it by this name, and recharges are signed for it.
id = "{gateway_id}"
# Where the ledger is kept.
data_dir = "data"
# The zone in which days begin, months end and cut hours run.
timezone = "Asia/Kolkata"
# When supply may be cut for want of credit. Without a policy file it is cut, at any hour, as soon
# as the credit is used up.
# policy = "policy.toml"

# The broker that leads to the head-end. Without it the gateway works alone.
# [mqtt]
# host = "broker.example.org"
# tls = true
# ca_file = "ca.pem"

# Keys whose recharges are credited, as `gateway headend keygen` prints them. Without any, no
# recharge is accepted.
[keys.recharge]
# office = "the 43 characters that keygen printed"

"""
_BUS = """\
# A serial line with meters. All meters of one line have one speed and parity.
[bus.rs485-{number}]
port = "{port}"
baud = 9600
parity = "N"
stop_bits = 1

"""
_NO_PORT = """\
# No serial adapter was found when this file was written. When it is plugged in, take its stable
# name from: ls -l /dev/serial/by-id
"""
_TAIL = """\
[time]
# Whether this machine's clock may be believed as it is. A Raspberry Pi without a clock chip comes
# up with a wrong, plausible date after a power cut: leave it false there.
trust_system_clock = false
trust_rtc = true
"""


def config_text(gateway_id: str, ports: Sequence[str]) -> str:
    """A configuration with one bus for each serial port found, or one to be filled in."""
    text = _HEAD.format(gateway_id=gateway_id)
    if not ports:
        text += _NO_PORT + _BUS.format(number=0, port="/dev/ttyUSB0")
    for number, port in enumerate(ports):
        text += _BUS.format(number=number, port=port)
    return text + _TAIL
