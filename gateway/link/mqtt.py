"""The link over MQTT: the one file that imports aiomqtt (and paho, which it is made of).

Rules of this file:
- One session is one client object: what paho queued for a lost connection is dropped with it. What
  must not be lost is resent by whoever published it.
- The session on the broker is persistent: messages for an absent gateway wait there. That is a
  convenience, not a promise: brokers lose it, and the client acknowledges a message before we have
  stored it. Only receipts and `down/ack` count.
- A connection that fails or ends is never an error of the program: it is noted in `status` and
  tried again, 1 s doubling to 60 s, with jitter so that a street of gateways does not come back at
  the same moment.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.documents.config import MqttConfig
from gateway.link.api import LinkDown, LinkStatus, Message, Serve, Topics, last_will

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 60.0
# A connection that stood this long was a good one: the next delay starts from the first again.
# Shorter ones (a broker that drops us, a second client of the same name) go on doubling.
GOOD_AFTER_S = 30.0
# From the call to the broker's consent, on a slow mobile link.
CONNECT_TIMEOUT_S = 30.0
# The part of it that opens the socket.
TCP_TIMEOUT_S = 15.0
POLL_S = 0.05
# From a publish to its PUBACK: a full batch of 64 KiB at 20 kbit/s takes 26 s.
PUBLISH_TIMEOUT_S = 60.0
FAREWELL_TIMEOUT_S = 2.0
# The broker keeps messages and subscriptions of an absent gateway this long (MQTT 5). Longer than
# an outage with repair; after it, recharges are sent again by the head-end anyway.
SESSION_EXPIRY_S = 90 * 24 * 3600
# Messages received and not yet taken. Beyond this they are dropped, and come again: recharges until
# they have a receipt, acks with the next batch.
MAX_RECEIVED = 1000
# MQTT's reason codes from here on are refusals.
REFUSED_FROM = 0x80
QOS = 1


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Who connects where, and what it wants to hear."""

    client_id: str
    mqtt: MqttConfig
    subscriptions: tuple[str, ...]
    will: Message | None = None  # published by the broker if we vanish, by us if we leave


def gateway_link(
    gateway: str, mqtt: MqttConfig | None, jitter: Callable[[], float] = random.random
) -> "MqttLink | None":
    """The link of a gateway to its head-end; None when the configuration names no broker."""
    if mqtt is None:
        return None
    options = LinkOptions(gateway, mqtt, Topics(gateway).down, last_will(gateway))
    return MqttLink(options, jitter)


class MqttLink:
    """A `Link` to an MQTT broker. `jitter` gives numbers in [0, 1), e.g. `random.random`."""

    def __init__(self, options: LinkOptions, jitter: Callable[[], float]) -> None:
        self._options = options
        self._jitter = jitter
        scheme = "mqtts" if options.mqtt.tls else "mqtt"
        self._status = LinkStatus(f"{scheme}://{options.mqtt.host}:{options.mqtt.port}")

    def status(self) -> LinkStatus:
        """How the link is now."""
        return self._status

    async def run(self, serve: Serve) -> None:
        """Connect, serve, reconnect, until cancelled. Raises only what is a bug in `serve`."""
        loop = asyncio.get_running_loop()
        delay_s = FIRST_DELAY_S
        while True:
            try:
                await self._session(serve)
            except* LinkDown as group:
                self._note(_first(group))
            finally:
                since_s = self._status.connected_since_s
                self._status = replace(self._status, connected_since_s=None)
            if since_s is not None and loop.time() - since_s >= GOOD_AFTER_S:
                delay_s = FIRST_DELAY_S
            wait_s = delay_s * (1 + self._jitter()) / 2
            self._status = replace(self._status, next_attempt_at_s=loop.time() + wait_s)
            await asyncio.sleep(wait_s)
            delay_s = min(2 * delay_s, LAST_DELAY_S)

    async def _session(self, serve: Serve) -> None:
        self._status = replace(self._status, next_attempt_at_s=None)
        async with self._connected() as client:
            await self._subscribe(client)
            self._status = replace(
                self._status,
                connected_since_s=asyncio.get_running_loop().time(),
                sessions=self._status.sessions + 1,
                failures=0,
                last_error=None,
                last_hint=None,
            )
            session = MqttSession(client)
            try:
                await serve(session)
            except asyncio.CancelledError:
                await self._say_farewell(session)
                raise

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["_Client"]:
        """A connected client; every way in which the connection can fail is `LinkDown`."""
        client = self._client()
        connecting = asyncio.ensure_future(client.__aenter__())
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await client.give_up(connecting)
            raise
        except (aiomqtt.MqttError, OSError, UnicodeError) as error:
            client.abandon()
            raise LinkDown(f"{self._status.broker}: {error}", hint=_hint(error)) from error
        try:
            yield client
        finally:
            try:
                await client.__aexit__(None, None, None)
            except aiomqtt.MqttError:
                client.abandon()  # it would not even say goodbye

    def _client(self) -> "_Client":
        options, mqtt = self._options, self._options.mqtt
        will = options.will
        five = mqtt.protocol == "5"
        try:
            return _Client(
                mqtt.host,
                mqtt.port,
                identifier=options.client_id,
                username=mqtt.username,
                password=_password(mqtt.password_file),
                tls_context=_tls_context(mqtt) if mqtt.tls else None,
                will=aiomqtt.Will(will.topic, will.body, QOS, will.retain) if will else None,
                keepalive=mqtt.keepalive_s,
                timeout=CONNECT_TIMEOUT_S,
                max_queued_incoming_messages=MAX_RECEIVED,
                protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
                # A session that outlives the connection. In MQTT 5 paho's own default would wipe
                # it at the first connection of each process; in 3.1.1 it wants to see its default.
                clean_session=None if five else False,
                clean_start=False if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
                properties=_expiry() if five else None,
            )
        except (OSError, UnicodeError) as error:
            raise LinkDown(
                f"{self._status.broker}: {error}",
                hint="Check the files named in [mqtt], and that the gateway's user can read them.",
            ) from error

    async def _subscribe(self, client: "_Client") -> None:
        wanted = self._options.subscriptions
        if not wanted:
            return
        try:
            granted = await client.subscribe([(topic, QOS) for topic in wanted])
        except aiomqtt.MqttError as error:
            raise LinkDown(f"{self._status.broker}: subscribing: {error}") from error
        for topic, code in zip(wanted, granted, strict=False):
            value = code.value if isinstance(code, ReasonCode) else code
            if isinstance(value, int) and value >= REFUSED_FROM:
                raise LinkDown(
                    f"{self._status.broker}: the broker refuses the subscription to {topic}",
                    hint="Check the broker's access list for this gateway's name.",
                )

    async def _say_farewell(self, session: "MqttSession") -> None:
        """Leaving in order: say what the last will would have said."""
        if self._options.will is None:
            return
        with suppress(LinkDown, TimeoutError):
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await session.publish(self._options.will)

    def _note(self, error: LinkDown) -> None:
        self._status = replace(
            self._status,
            failures=self._status.failures + 1,
            last_error=str(error),
            last_hint=error.hint,
        )


class MqttSession:
    """A `Session` on one connected client."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def publish(self, message: Message) -> None:
        """Send at QoS 1; returns when the broker has taken it. Raises `LinkDown`."""
        try:
            await self._client.publish(
                message.topic, message.body, QOS, message.retain, timeout=PUBLISH_TIMEOUT_S
            )
        except aiomqtt.MqttError as error:
            raise LinkDown(f"publishing to {message.topic}: {error}") from error

    async def messages(self) -> AsyncIterator[Message]:
        """Messages as they arrive; ends only by raising `LinkDown`."""
        try:
            async for received in self._client.messages:
                body = received.payload
                if isinstance(body, (bytes, bytearray)):
                    yield Message(str(received.topic), bytes(body), bool(received.retain))
        except aiomqtt.MqttError as error:
            raise LinkDown(f"the connection ended: {error.__cause__ or error}") from error


class _Client(aiomqtt.Client):
    """Aiomqtt's client, which can also be let go of when connecting failed half-way."""

    def _client_connect(self) -> None:
        self._client.connect_timeout = TCP_TIMEOUT_S
        super()._client_connect()

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Also when the broker hangs up before its consent, which the library waits out.

        A broker that wants a client certificate does so under TLS 1.3. May be called from the
        connecting thread.
        """
        if self._connected.cancelled():
            return
        if not self._connected.done():
            self._loop.call_soon_threadsafe(self._refused)
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _refused(self) -> None:
        if not self._connected.done():
            error = aiomqtt.MqttError("the broker hung up before it had agreed to the connection")
            self._connected.set_exception(error)
            self._connected.exception()  # nobody may be waiting for it any more

    async def give_up(self, connecting: asyncio.Task[Any]) -> None:
        """Stop connecting and leave no socket and no task behind.

        The library opens the socket in a thread, which cannot be interrupted but ends by itself
        within `TCP_TIMEOUT_S`; from then on it waits for the broker's consent, which we need not.
        """
        # The thread has no event to wait for: it has a socket, or it has failed.
        while not connecting.done() and self._client.socket() is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        connecting.cancel()
        await asyncio.wait([connecting])
        if not connecting.cancelled():
            connecting.exception()  # it has been seen
        self.abandon()

    def abandon(self) -> None:
        """Close the socket, if one was opened; its reader and keep-alive task go with it."""
        self._client.disconnect()
        if self._misc_task is not None:
            self._misc_task.cancel()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # it has been seen


def _expiry() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return properties


def _tls_context(mqtt: MqttConfig) -> ssl.SSLContext:
    """TLS 1.2 or later, with the broker's certificate and name checked."""
    context = ssl.create_default_context(cafile=mqtt.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.cert_file is not None:
        context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
    return context


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0] if lines else ""


def _first(error: BaseExceptionGroup[LinkDown] | LinkDown) -> LinkDown:
    """One of the errors: tasks of one session all see the same end of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _hint(error: Exception) -> str:
    text = str(error).lower()
    if "certificate verify failed" in text:
        return "The broker's certificate is not by ca_file, names another host, or is out of date."
    if "hung up" in text:
        return "It may want a certificate or name that it was not given: see the broker's log."
    if "authori" in text or "user name" in text:
        return "Check username, password_file and certificates with the broker's operator."
    return LinkDown.hint
