"""Fixtures: a real Mosquitto on a free port, plain or with TLS and client certificates."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.documents.config import MqttConfig

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@dataclass
class Authority:
    """A certificate authority of our own, with one server and one client certificate."""

    directory: Path

    def __post_init__(self) -> None:
        key, ca = self.path("ca.key"), self.path("ca.pem")
        openssl(
            "req", "-x509", *NEW_KEY, "-keyout", key, "-out", ca, "-days", "2", "-subj", "/CN=CA"
        )
        self.issue("server", "subjectAltName=DNS:localhost")
        self.issue("elsewhere", "subjectAltName=DNS:elsewhere.example")
        self.issue("client", "extendedKeyUsage=clientAuth")

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def issue(self, name: str, extension: str) -> None:
        key, request, cert = (self.path(f"{name}.{end}") for end in ("key", "csr", "pem"))
        self.directory.joinpath("ext").write_text(extension)
        openssl("req", "-new", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.path("ca.pem"), "-CAkey",
            self.path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", self.path("ext"),
            "-out", cert,
        )  # fmt: skip


@dataclass
class Mosquitto:
    """A broker process that can be killed and started again with its persisted sessions."""

    directory: Path
    authority: Authority | None = None
    certificate: str = "server"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    def start(self) -> None:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.directory}/",
            f"user {os.environ.get('USER', 'root')}",
            "max_queued_messages 10000",
        ]
        if self.authority is not None:
            lines += [
                f"cafile {self.authority.path('ca.pem')}",
                f"certfile {self.authority.path(f'{self.certificate}.pem')}",
                f"keyfile {self.authority.path(f'{self.certificate}.key')}",
                "require_certificate true",
            ]
        file = self.directory / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n")
        log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(file)], stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        raise RuntimeError((self.directory / "log").read_text())

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """SIGTERM lets it save its sessions; SIGKILL does not."""
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(10)
            self.process = None

    def config(self, **changes) -> MqttConfig:
        tls = self.authority is not None
        given = {
            "host": "localhost" if tls else "127.0.0.1",
            "port": self.port,
            "tls": tls,
            "ca_file": Path(self.authority.path("ca.pem")) if tls else None,
            "cert_file": Path(self.authority.path("client.pem")) if tls else None,
            "key_file": Path(self.authority.path("client.key")) if tls else None,
            "username": None,
            "password_file": None,
            "keepalive_s": 30,
            "protocol": "3.1.1",
        }
        return MqttConfig(**(given | changes))


@pytest.fixture
def mosquitto(tmp_path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("Mosquitto is not installed: apt install mosquitto")
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    broker = Mosquitto(directory)
    broker.start()
    yield broker
    broker.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed: apt install openssl")
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def mosquitto_tls(tmp_path, authority) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("Mosquitto is not installed: apt install mosquitto")
    directory = tmp_path / "mosquitto-tls"
    directory.mkdir()
    broker = Mosquitto(directory, authority)
    yield broker
    broker.stop(signal.SIGKILL)
