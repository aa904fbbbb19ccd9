"""Aiomqtt's client with its rough edges taken off; nothing of ours in it.

Each method says which edge. Checked against aiomqtt 2.5; it touches the client's protected parts,
so a newer one is to be tried with the tests first.
"""

import asyncio
from typing import Any

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

# The part of connecting that opens the socket, TLS included; it cannot be interrupted.
TCP_TIMEOUT_S = 15.0
POLL_S = 0.05


class Client(aiomqtt.Client):
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

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """Watch for the socket to take more, unless it is closed by the time we come to it.

        The library does not look, and would watch a file descriptor that is another's by then.
        """
        del userdata
        self._loop.call_soon_threadsafe(self._watch_write, client, sock)

    def _watch_write(self, client: paho.Client, sock: Any) -> None:
        still = client.socket()
        if still is not None and still is sock and still.fileno() >= 0:
            self._loop.add_writer(still.fileno(), self._write_more, client)

    def _write_more(self, client: paho.Client) -> None:
        try:
            client.loop_write()
        except (OSError, ValueError) as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _refused(self) -> None:
        if not self._connected.done():
            error = aiomqtt.MqttError("the broker hung up before it had agreed to the connection")
            self._connected.set_exception(error)
            self._connected.exception()  # nobody may be waiting for it any more

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is gone."""
        return self._disconnected

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
        self.mark_seen()

    def mark_seen(self) -> None:
        """How the connection ended was noted, if not by the one who waited for messages."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()
