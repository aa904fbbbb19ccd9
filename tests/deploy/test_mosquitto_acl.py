"""The broker's files on the real broker: a certificate opens its own corner and no other."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gateway.link.api import Topics

pytestmark = pytest.mark.mosquitto

# One use of the command-line clients; they end by themselves long before.
LIMIT_S = 15
NOT_AUTHORISED = "Not authorized"


def make(deploy: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = deploy / "mosquitto" / "make-certs.sh"
    return subprocess.run(
        ["sh", script, "--dir", directory, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """Mosquitto with the files of this project, moved to another port and directory."""

    def __init__(self, program: str, deploy: Path, directory: Path) -> None:
        self.pki = directory / "pki"
        for arguments in (
            ["ca"],
            ["broker", "localhost", "127.0.0.1"],
            ["head-end"],
            ["gateway", "GW-1", "GW-2"],
        ):
            done = make(deploy, self.pki, *arguments)
            assert done.returncode == 0, done.stderr
        shutil.copy(deploy / "mosquitto" / "acl", self.pki / "acl")
        self.port = free_port()
        written = (deploy / "mosquitto" / "mosquitto.conf").read_text()
        # The files are moved, and Mosquitto is kept from changing to its own user, which a test's
        # directory does not know. Nothing else differs.
        moved = written.replace("/etc/mosquitto/prepaid", str(self.pki))
        moved = moved.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        data = directory / "data"
        data.mkdir()
        conf = directory / "mosquitto.conf"
        conf.write_text(
            f"{moved}\nuser root\npersistence true\npersistence_location {data}/\nlog_dest stdout\n"
        )
        self._command = [program, "-c", str(conf)]
        self._log = (directory / "log").open("w")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"no broker: {Path(self._log.name).read_text()}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(LIMIT_S)

    def arguments(self, tool: str, who: str | None, *more: str) -> list[str]:
        """The client's command line, with the certificate of `who`."""
        line = [tool, "-h", "localhost", "-p", str(self.port), "-V", "mqttv5", "-q", "1"]
        line += ["--cafile", str(self.pki / "ca.pem")]
        if who is not None:
            line += ["--cert", f"{self.pki / who}.pem", "--key", f"{self.pki / who}.key"]
        return [*line, *more]

    def publish(self, who: str | None, topic: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.arguments("mosquitto_pub", who, "-t", topic, "-m", "x", *more),
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip

    def hear(
        self, who: str | None, topic: str, *more: str, wait_s: int = 2
    ) -> subprocess.CompletedProcess[str]:
        """Subscribe and wait; what was heard is in `stdout`."""
        return subprocess.run(
            self.arguments("mosquitto_sub", who, "-v", "-W", str(wait_s), "-t", topic, *more),
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def broker(program, deploy, tmp_path_factory):
    mosquitto = program("mosquitto", "mosquitto")
    program("mosquitto_pub", "mosquitto-clients")
    program("openssl", "openssl")
    running = Broker(mosquitto, deploy, tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    return NOT_AUTHORISED in done.stdout + done.stderr


def denied(done: subprocess.CompletedProcess[str]) -> bool:
    return "denied" in done.stdout + done.stderr


GW1, GW2 = Topics("GW-1"), Topics("GW-2")


@pytest.mark.parametrize("topic", [GW1.events, GW1.state])
def test_a_gateway_writes_its_own_topics(broker, topic):
    done = broker.publish("GW-1", topic)
    assert done.returncode == 0, done.stderr
    assert not refused(done)


@pytest.mark.parametrize("topic", [GW2.events, GW2.state, GW2.recharge, GW1.recharge, "other", "#"])
def test_a_gateway_writes_no_other_topic(broker, topic):
    done = broker.publish("GW-1", topic)
    assert done.returncode != 0 or refused(done), done


@pytest.mark.parametrize("topic", GW1.down)
def test_a_gateway_may_subscribe_to_what_is_for_it(broker, topic):
    assert not denied(broker.hear("GW-1", topic, wait_s=1))


def test_a_gateway_hears_what_is_for_it_and_nothing_else(broker):
    for topic in (GW1.recharge, GW2.recharge):
        done = broker.publish("head-end", topic, "--retain")
        assert done.returncode == 0
        assert not refused(done)
    try:
        assert broker.hear("GW-1", GW1.recharge).stdout == f"{GW1.recharge} x\n"
        everything = broker.hear("GW-1", "#")
        assert GW2.recharge not in everything.stdout, "a wildcard reached another gateway's topic"
        assert GW2.recharge not in broker.hear("GW-1", GW2.recharge).stdout
    finally:
        for topic in (GW1.recharge, GW2.recharge):
            subprocess.run(
                broker.arguments("mosquitto_pub", "head-end", "-t", topic, "-n", "-r"),
                timeout=LIMIT_S, check=True,
            )  # fmt: skip


def test_the_head_end_hears_every_gateway(broker):
    for who, topic in (("GW-1", GW1.state), ("GW-2", GW2.state)):
        assert broker.publish(who, topic, "--retain").returncode == 0
    heard = broker.hear("head-end", Topics("+").state).stdout
    assert GW1.state in heard
    assert GW2.state in heard


def test_without_a_certificate_there_is_no_connection(broker):
    assert broker.publish(None, GW1.events).returncode != 0
    assert broker.hear(None, GW1.recharge, wait_s=1).returncode != 0


def test_a_certificate_of_another_authority_is_refused(broker, deploy, tmp_path):
    assert make(deploy, tmp_path / "pki", "ca").returncode == 0
    assert make(deploy, tmp_path / "pki", "gateway", "GW-1").returncode == 0
    line = broker.arguments("mosquitto_pub", None, "-t", GW1.events, "-m", "x")
    line += ["--cert", str(tmp_path / "pki/GW-1.pem"), "--key", str(tmp_path / "pki/GW-1.key")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode != 0


def test_a_listener_without_tls_does_not_exist(broker):
    line = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", "x", "-m", "x"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode != 0


def test_a_user_name_or_client_id_of_ones_own_choice_counts_nothing(broker):
    """Not a name beside the certificate, and not a client id that would end another's session."""
    line = broker.arguments(
        "mosquitto_sub", "GW-2", "-d", "-i", "GW-2", "-W", "4", "-t", GW2.recharge
    )
    victim = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        done = broker.publish("GW-1", GW2.events, "-u", "GW-2", "-i", "GW-2")
        assert done.returncode != 0 or refused(done)
        said, _ = victim.communicate(timeout=LIMIT_S)
    finally:
        victim.kill()
    assert said.count("CONNACK") == 1, "another client threw this one out, it had to come again"


def test_a_revoked_certificate_is_refused_after_a_restart(broker, deploy):
    assert make(deploy, broker.pki, "gateway", "GW-3").returncode == 0
    topic = Topics("GW-3").events
    assert broker.publish("GW-3", topic).returncode == 0
    assert make(deploy, broker.pki, "revoke", "GW-3").returncode == 0
    for suffix in ("pem", "key"):  # the thief's copy
        shutil.copy(broker.pki / f"issued/GW-3.revoked.{suffix}", broker.pki / f"GW-3.{suffix}")
    broker.stop()
    broker.start()
    assert broker.publish("GW-3", topic).returncode != 0
    assert broker.publish("GW-1", GW1.events).returncode == 0, "the others go on"
