"""The link against real brokers and broken ones."""

import asyncio
import json
import signal
import socket
import warnings
from typing import Self

import pytest

from gateway.documents.config import MqttConfig
from gateway.link import mqtt as link_module
from gateway.link.api import LinkDown, Message, Topics, gateway_of
from gateway.link.mqtt import LinkOptions, MqttLink

TOPIC = "prepaid/v1/GW-1/down/recharge"
WILL = Message("prepaid/v1/GW-1/state", b'{"state":"offline"}', retain=True)


def no_jitter() -> float:
    return 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(link_module, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(link_module, "LAST_DELAY_S", 0.2)


def options(config: MqttConfig, name: str = "GW-1", *topics: str, will=None) -> LinkOptions:
    return LinkOptions(name, config, topics, will)


class Peer:
    """A client that keeps what it hears and can publish, connected for as long as it is entered."""

    def __init__(self, config: MqttConfig, name: str, *topics: str, will=None) -> None:
        self.link = MqttLink(options(config, name, *topics, will=will), no_jitter)
        self.heard: list[Message] = []
        self.session = None
        self.connected = asyncio.Event()
        self.news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.link.run(self._serve))
        connected = asyncio.create_task(self.connected.wait())
        await asyncio.wait([self.task, connected], timeout=10, return_when="FIRST_COMPLETED")
        connected.cancel()
        assert self.connected.is_set(), self.task if self.task.done() else self.link.status()
        return self

    async def __aexit__(self, *_) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _serve(self, session) -> None:
        self.session = session
        self.connected.set()
        try:
            async for message in session.messages():
                self.heard.append(message)
                self.news.set()
        finally:
            self.connected.clear()

    async def hear(self, count: int) -> list[Message]:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self.news.clear()
                await self.news.wait()
        return self.heard


def test_topics_are_those_of_the_contract():
    topics = Topics("GW-1")
    assert topics.recharge == "prepaid/v1/GW-1/down/recharge"
    assert topics.command == "prepaid/v1/GW-1/down/command"
    assert topics.ack == "prepaid/v1/GW-1/down/ack"
    assert topics.events == "prepaid/v1/GW-1/up/events"
    assert topics.state == "prepaid/v1/GW-1/state"
    assert gateway_of(topics.events) == gateway_of(topics.state) == "GW-1"
    for other in ("prepaid/v1", "prepaid/v1/GW-1", "prepaid/v1//state", "prepaid/v2/GW-1/state"):
        assert gateway_of(other) is None


@pytest.mark.mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_message_for_an_absent_gateway_waits_on_the_broker(mosquitto, protocol):
    config = mosquitto.config(protocol=protocol)
    async with Peer(config, "head-end") as head_end:
        async with Peer(config, "GW-1", TOPIC):
            pass
        await head_end.session.publish(Message(TOPIC, b"first"))
        await head_end.session.publish(Message(TOPIC, b"second"))
        async with Peer(config, "GW-1", TOPIC) as gateway:
            assert [message.body for message in await gateway.hear(2)] == [b"first", b"second"]


@pytest.mark.mosquitto
async def test_the_last_will_is_said_when_we_vanish_and_when_we_leave(mosquitto):
    async with Peer(mosquitto.config(), "head-end", WILL.topic) as head_end:
        async with Peer(mosquitto.config(), "GW-1", will=WILL) as gateway:
            await gateway.session.publish(Message(WILL.topic, b'{"state":"online"}', retain=True))
            await head_end.hear(1)
            gateway.session._client._client.socket().shutdown(socket.SHUT_RDWR)
            await head_end.hear(2)
            assert json.loads(head_end.heard[1].body) == {"state": "offline"}
            await asyncio.wait_for(gateway.connected.wait(), 10)
        await head_end.hear(3)
        assert json.loads(head_end.heard[2].body) == {"state": "offline"}
    async with Peer(mosquitto.config(), "late", WILL.topic) as late:
        assert (await late.hear(1))[0] == WILL


@pytest.mark.mosquitto
async def test_a_killed_broker_is_noted_and_found_again(mosquitto):
    async with Peer(mosquitto.config(), "GW-1", TOPIC) as gateway:
        assert gateway.link.status().connected
        mosquitto.stop(signal.SIGKILL)
        async with asyncio.timeout(10):
            while gateway.link.status().failures < 3:
                await asyncio.sleep(0.02)
        status = gateway.link.status()
        assert not status.connected
        assert status.last_error is not None
        assert "refused" in status.last_error
        assert status.sessions == 1
        mosquitto.start()
        await asyncio.wait_for(gateway.connected.wait(), 10)
        status = gateway.link.status()
        assert status.connected
        assert status.failures == 0
        assert status.last_error is None
        assert status.sessions == 2
        await gateway.session.publish(Message(TOPIC, b"again"))
        assert (await gateway.hear(1))[0].body == b"again"


@pytest.mark.mosquitto
async def test_publishing_on_a_lost_connection_is_link_down(mosquitto):
    async with Peer(mosquitto.config(), "GW-1") as gateway:
        session = gateway.session
        mosquitto.stop(signal.SIGKILL)
        await asyncio.sleep(0.1)
        with pytest.raises(LinkDown):
            await session.publish(Message(TOPIC, b"x"))


@pytest.mark.mosquitto
async def test_tls_with_client_certificates_carries_messages(mosquitto_tls):
    mosquitto_tls.start()
    async with Peer(mosquitto_tls.config(), "GW-1", TOPIC) as gateway:
        await gateway.session.publish(Message(TOPIC, b"secret"))
        assert (await gateway.hear(1))[0].body == b"secret"
        assert gateway.link.status().broker == f"mqtts://localhost:{mosquitto_tls.port}"


async def failure_of(config: MqttConfig) -> tuple[str, str]:
    async def serve(_session) -> None:
        raise AssertionError("this must not connect")

    link = MqttLink(options(config), no_jitter)
    task = asyncio.create_task(link.run(serve))
    try:
        async with asyncio.timeout(20):
            while not link.status().failures:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.wait([task])
    status = link.status()
    return status.last_error or "", status.last_hint or ""


@pytest.mark.mosquitto
async def test_a_broker_whose_certificate_names_another_host_is_refused(mosquitto_tls):
    mosquitto_tls.certificate = "elsewhere"
    mosquitto_tls.start()
    error, hint = await failure_of(mosquitto_tls.config())
    assert "certificate verify failed" in error
    assert "another host" in hint


@pytest.mark.mosquitto
async def test_a_broker_of_an_unknown_authority_is_refused(mosquitto_tls):
    mosquitto_tls.start()
    error, _ = await failure_of(mosquitto_tls.config(ca_file=None))
    assert "certificate verify failed" in error


@pytest.mark.mosquitto
async def test_without_its_client_certificate_the_gateway_is_refused(mosquitto_tls):
    mosquitto_tls.start()
    error, hint = await failure_of(mosquitto_tls.config(cert_file=None, key_file=None))
    assert "hung up" in error
    assert "certificate" in hint


async def test_a_missing_certificate_file_is_told_and_tried_again(nowhere, tmp_path):
    config = MqttConfig(
        **nowhere | {"tls": True, "ca_file": tmp_path / "none.pem"},
    )
    error, hint = await failure_of(config)
    assert "No such file" in error
    assert "[mqtt]" in hint


async def test_a_missing_password_file_is_told(nowhere, tmp_path):
    config = MqttConfig(
        **nowhere | {"username": "g", "password_file": tmp_path / "none"},
    )
    assert "No such file" in (await failure_of(config))[0]


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "no-such-host.invalid"])
async def test_a_host_that_cannot_be_found_is_told(nowhere, host):
    assert (await failure_of(MqttConfig(**nowhere | {"host": host})))[0]


@pytest.mark.mosquitto
async def test_a_bug_in_the_service_is_not_taken_for_a_lost_link(mosquitto):
    async def serve(_session) -> None:
        raise ZeroDivisionError

    link = MqttLink(options(mosquitto.config()), no_jitter)
    with pytest.raises((ZeroDivisionError, ExceptionGroup)):
        await asyncio.wait_for(link.run(serve), 10)
    assert not link.status().connected


async def test_stopping_while_the_broker_says_nothing_leaves_nothing_behind(nowhere):
    """A port that takes the connection and never answers."""
    accepted = []
    with socket.create_server(("127.0.0.1", nowhere["port"])) as server:
        server.setblocking(False)
        link = MqttLink(options(MqttConfig(**nowhere)), no_jitter)

        async def serve(_session) -> None:
            raise AssertionError

        before = asyncio.all_tasks()
        task = asyncio.create_task(link.run(serve))
        loop = asyncio.get_running_loop()
        connection, _ = await asyncio.wait_for(loop.sock_accept(server), 10)
        accepted.append(connection)
        assert await asyncio.wait_for(loop.sock_recv(connection, 100), 10)  # its CONNECT
        task.cancel()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await asyncio.wait_for(asyncio.wait([task]), 5)
            rest = b"x"
            while rest:  # until it hangs up
                rest = await asyncio.wait_for(loop.sock_recv(connection, 100), 5)
        await asyncio.sleep(0)
        assert task.cancelled()
        assert asyncio.all_tasks() == before
        connection.close()


async def test_a_publish_that_waits_on_a_lost_connection_ends_with_it(nowhere):
    """A broker that accepts, never acknowledges a publish, and dies."""
    ended = asyncio.Event()

    async def serve(session) -> None:
        try:
            await session.publish(Message(TOPIC, b"x"))
        finally:
            ended.set()

    async def accept(reader, writer) -> None:
        await reader.read(100)
        writer.write(b"\x20\x02\x00\x00")  # CONNACK, accepted
        await reader.readuntil(b"x")
        writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", nowhere["port"])
    link = MqttLink(options(MqttConfig(**nowhere)), no_jitter)
    task = asyncio.create_task(link.run(serve))
    await asyncio.wait_for(ended.wait(), 5)
    async with asyncio.timeout(5):
        while link.status().last_error is None:
            await asyncio.sleep(0.01)
    assert "lost" in (link.status().last_error or "")
    task.cancel()
    await asyncio.wait([task])
    server.close()


async def test_a_bug_that_shows_only_when_the_service_is_stopped_is_not_swallowed(nowhere):
    async def serve(_session) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ZeroDivisionError

    async def accept(reader, writer) -> None:
        await reader.read(100)
        writer.write(b"\x20\x02\x00\x00")
        await asyncio.sleep(0.1)
        writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", nowhere["port"])
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(MqttLink(options(MqttConfig(**nowhere)), no_jitter).run(serve), 5)
    server.close()


async def test_delays_double_up_to_the_last_and_are_jittered(monkeypatch, nowhere):
    monkeypatch.undo()
    waits = []

    async def slept(delay_s: float) -> None:
        waits.append(delay_s)
        if len(waits) == 9:
            raise asyncio.CancelledError

    monkeypatch.setattr(link_module.asyncio, "sleep", slept)
    rolls = iter([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    link = MqttLink(options(MqttConfig(**nowhere)), lambda: next(rolls))

    async def refused(_serve) -> None:
        raise LinkDown("refused")

    monkeypatch.setattr(link, "_session", refused)
    with pytest.raises(asyncio.CancelledError):
        await link.run(refused)
    assert waits == [1, 1, 4, 4, 16, 16, 60, 30, 60]


@pytest.fixture
def nowhere():
    """Where no broker is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "host": "127.0.0.1",
        "port": port,
        "tls": False,
        "ca_file": None,
        "cert_file": None,
        "key_file": None,
        "username": None,
        "password_file": None,
        "keepalive_s": 30,
        "protocol": "3.1.1",
    }
