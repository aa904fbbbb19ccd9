"""The link over MQTT: this package is the only place that imports aiomqtt (and paho under it).

Rules of this file:
- One session is one client object: what paho queued for a lost connection is dropped with it. What
  must not be lost is resent by whoever published it.
- The session on the broker is persistent: messages for an absent gateway wait there. That is a
  convenience, not a promise: brokers lose it, and the client acknowledges a message before we have
  stored it. Only receipts and `down/ack` count.
- Time limits are ours (`asyncio.timeout`), the library is told to have none: it would use
  `asyncio.wait_for`, which until Python 3.12 can swallow a cancellation.
- A connection that fails or ends is never an error of the program: it is noted in `status` and
  tried again, 1 s doubling to 60 s, with jitter so that a street of gateways does not come back at
  the same moment.
"""

import asyncio
import logging
import math
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.documents.config import MqttConfig
from gateway.link.api import LinkDown, LinkStatus, Message, Serve, Topics, last_will
from gateway.link.client import Client

_log = logging.getLogger(__name__)
# What paho logs as errors are lost connections, and we tell those ourselves.
_paho_log = logging.getLogger(f"{__name__}.paho")
_paho_log.setLevel(logging.CRITICAL)

FIRST_DELAY_S = 1.0
LAST_DELAY_S = 60.0
# A connection that stood this long was a good one: the next delay starts from the first again.
# Shorter ones (a broker that drops us, a second client of the same name) go on doubling.
GOOD_AFTER_S = 30.0
# From the call to the broker's consent, on a slow mobile link.
CONNECT_TIMEOUT_S = 30.0
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
                # A task of its own: on Python 3.11 a TaskGroup whose child failed leaves its task
                # counted as cancelling, which must not outlive the session.
                await asyncio.create_task(self._session(serve))
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
        """One connection, until `serve` ends, the connection is lost, or we are told to stop.

        A lost connection ends whatever is waited for: the library would let a publish or a
        subscription wait for an answer on a connection that is gone.
        """
        self._status = replace(self._status, next_attempt_at_s=None)
        async with self._connected() as client:
            session = MqttSession(client)
            talking = asyncio.ensure_future(self._talk(serve, client, session))
            try:
                await asyncio.wait([talking, client.lost], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await _stop(talking)
                await self._say_farewell(session)
                raise
            if not talking.done():
                await _stop(talking)
                raise LinkDown(f"{self._status.broker}: the connection was lost")
            await talking

    async def _talk(self, serve: Serve, client: Client, session: "MqttSession") -> None:
        await self._subscribe(client)
        self._status = replace(
            self._status,
            connected_since_s=asyncio.get_running_loop().time(),
            sessions=self._status.sessions + 1,
            failures=0,
            last_error=None,
            last_hint=None,
        )
        _log.info("connected to %s", self._status.broker)
        await serve(session)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """A connected client; every way in which the connection can fail is `LinkDown`."""
        client = self._client()
        connecting = asyncio.ensure_future(client.__aenter__())
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await client.give_up(connecting)
            raise
        except TimeoutError as error:
            await client.give_up(connecting)
            raise LinkDown(f"{self._status.broker}: no answer") from error
        except (aiomqtt.MqttError, OSError, UnicodeError) as error:
            client.abandon()
            raise LinkDown(f"{self._status.broker}: {error}", hint=_hint(error)) from error
        try:
            yield client
        finally:
            try:
                async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                    await client.__aexit__(None, None, None)
            except (aiomqtt.MqttError, TimeoutError):
                client.abandon()  # it would not even say goodbye
            client.mark_seen()

    def _client(self) -> Client:
        options, mqtt = self._options, self._options.mqtt
        will = options.will
        five = mqtt.protocol == "5"
        try:
            return Client(
                mqtt.host,
                mqtt.port,
                logger=_paho_log,
                identifier=options.client_id,
                username=mqtt.username,
                password=_password(mqtt.password_file),
                tls_context=_tls_context(mqtt) if mqtt.tls else None,
                will=aiomqtt.Will(will.topic, will.body, QOS, will.retain) if will else None,
                keepalive=mqtt.keepalive_s,
                timeout=math.inf,
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

    async def _subscribe(self, client: Client) -> None:
        wanted = self._options.subscriptions
        if not wanted:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                granted = await client.subscribe([(topic, QOS) for topic in wanted])
        except (aiomqtt.MqttError, TimeoutError) as error:
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
        # Once for each outage: a broker may be away for months.
        level = logging.DEBUG if self._status.failures else logging.WARNING
        _log.log(level, "no link: %s", error)
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
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._client.publish(message.topic, message.body, QOS, message.retain)
        except (aiomqtt.MqttError, TimeoutError) as error:
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


async def _stop(talking: asyncio.Future[None]) -> None:
    """Cancel a conversation and wait for its end; raises what is a bug in it."""
    talking.cancel()
    await asyncio.wait([talking])
    error = None if talking.cancelled() else talking.exception()
    if error is not None and not _is_link_down(error):
        raise error


def _is_link_down(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_link_down(each) for each in error.exceptions)
    return isinstance(error, LinkDown)


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
