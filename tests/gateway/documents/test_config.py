"""The configuration file: what it gives, and that every mistake is told with its place."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.core.errors import ConfigError
from gateway.documents.config import Config, is_loopback, load_config
from hardware.api import LineSettings

RFC_8037_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, text: str) -> Config:
    return load_config(write(tmp_path, '[gateway]\nid = "GW-1"\n' + text))


def test_a_gateway_needs_nothing_but_its_id(tmp_path):
    config = load(tmp_path, "")
    assert config.gateway_id == "GW-1"
    assert config.data_dir == tmp_path / "data"
    assert config.socket == tmp_path / "data" / "gateway.sock"
    assert config.zone == ZoneInfo("Asia/Kolkata")
    assert config.mqtt is None
    assert not config.trust_system_clock
    assert config.trust_rtc


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "rules.toml").write_text('name = "x"\n')
    config = load(
        tmp_path,
        'data_dir = "../ledger"\npolicy = "rules.toml"\n'
        '[mqtt]\nhost = "b.example"\ntls = true\nca_file = "ca.pem"\npassword_file = "/etc/pw"\n'
        'username = "g"\n[local]\nsocket = "s"',
    )
    assert config.data_dir == tmp_path / "../ledger"
    assert config.policy == tmp_path / "rules.toml"
    assert config.socket == tmp_path / "s"
    assert config.mqtt is not None
    assert config.mqtt.ca_file == tmp_path / "ca.pem"
    assert config.mqtt.password_file == Path("/etc/pw")
    assert config.mqtt.port == 8883


def test_a_bus_becomes_line_settings_and_seconds(tmp_path):
    config = load(
        tmp_path,
        '[bus.a]\nport = "/dev/ttyUSB0"\nbaud = 19200\nparity = "E"\npoll_interval_s = 0.5\n'
        'timeout_s = 1\n[bus.b]\nport = "/dev/ttyUSB1"',
    )
    assert config.buses["a"].settings == LineSettings(19200, "E", 1)
    assert config.buses["a"].poll_interval_s == 0.5
    assert config.buses["a"].timeout_s == 1.0
    assert isinstance(config.buses["a"].timeout_s, float)
    assert config.buses["b"].settings == LineSettings()
    assert config.buses["b"].timeout_s is None


def test_keys_are_decoded(tmp_path):
    config = load(tmp_path, f'[keys.recharge]\noffice = "{RFC_8037_KEY}"')
    assert config.recharge_keys["office"].hex().startswith("d75a980182b10ab7")
    assert config.command_keys == {}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]
)
def test_plain_mqtt_is_let_through_on_this_machine(tmp_path, host):
    assert is_loopback(host)
    config = load(tmp_path, f'[mqtt]\nhost = "{host}"')
    assert config.mqtt is not None
    assert config.mqtt.port == 1883


@pytest.mark.parametrize("host", ["broker.example", "10.0.0.1", "localhost.example", "0.0.0.0"])
def test_plain_mqtt_to_another_machine_is_refused_unless_allowed(tmp_path, host):
    with pytest.raises(ConfigError, match="allow_plain"):
        load(tmp_path, f'[mqtt]\nhost = "{host}"')
    config = load(tmp_path, f'[mqtt]\nhost = "{host}"\nallow_plain = true')
    assert config.mqtt is not None
    assert not config.mqtt.tls


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gatway]", "gatway: unknown key; did you mean gateway?"),
        ('timezone = "Asia/Jagdalpur"', "gateway: timezone 'Asia/Jagdalpur'"),
        ('timezone = "../../etc/passwd"', "timezone"),
        ('data_dri = "x"', "did you mean data_dir"),
        ('policy = "none.toml"', "gateway.policy: there is no file"),
        ('models = "none"', "gateway.models: there is no directory"),
        ("[mqtt]", "mqtt: Object missing required field `host`"),
        ('[mqtt]\nhost = ""', "mqtt: host must name"),
        ('[mqtt]\nhost = "localhost"\nport = 65536', "port 65536"),
        ('[mqtt]\nhost = "localhost"\nport = 0', "port 0"),
        ('[mqtt]\nhost = "localhost"\nkeepalive_s = 0', "keepalive_s 0"),
        ('[mqtt]\nhost = "localhost"\nprotocol = "4"', "protocol '4'"),
        ('[mqtt]\nhost = "localhost"\nprotocol = 5', "protocol"),
        ('[mqtt]\nhost = "localhost"\ntls = true\ncert_file = "x"', "belong together"),
        ('[mqtt]\nhost = "localhost"\nca_file = "x"', "only with tls"),
        ('[mqtt]\nhost = "localhost"\npassword_file = "x"', "needs a username"),
        (f'[keys.recharge]\nk = "{RFC_8037_KEY[:-1]}"', "recharge.k: is not an Ed25519"),
        (f'[keys.recharge]\nk = "{RFC_8037_KEY[:-1]}p"', "recharge.k: ends in a character"),
        ('[keys.command]\nk = "+/=="', "command.k"),
        (f'[keys.rechrge]\nk = "{RFC_8037_KEY}"', "did you mean recharge"),
        ("[bus.a]\nbaud = 9600", "bus"),
        ('[bus.a]\nport = "/dev/x"\nbaud = 9601', "baud 9601"),
        ('[bus.a]\nport = "/dev/x"\nparity = "X"', "parity 'X'"),
        ('[bus.a]\nport = "/dev/x"\nstop_bits = 3', "stop_bits 3"),
        ('[bus.a]\nport = "/dev/x"\npoll_interval_s = 0', "poll_interval_s 0"),
        ('[bus.a]\nport = "/dev/x"\npoll_interval_s = nan', "poll_interval_s"),
        ('[bus.a]\nport = "/dev/x"\ntimeout_s = -1', "timeout_s -1"),
        ('[bus."a/b"]\nport = "/dev/x"', "bus name 'a/b'"),
        ('[bus.a]\nport = "/dev/x"\n[bus.b]\nport = "/dev/x"', "same port"),
        (f'[local]\nsocket = "{"x" * 120}"', "local.socket"),
        ("[time]\ntrust_rtc = 1", "time.trust_rtc"),
        ("id = ", "is not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_file_place_and_a_way_out(tmp_path, text, told):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert "gateway.toml" in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "GW 1", "GW/1", "GW+", "#", ".hidden", "G" * 65, "जगदलपुर"])
def test_an_id_that_is_not_safe_in_a_topic_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="MQTT topics"):
        load_config(write(tmp_path, f'[gateway]\nid = "{name}"\n'))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
