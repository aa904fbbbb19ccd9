"""A TCP proxy that is a bad mobile link, by seed: delays, splits, truncates, goes dead, resets."""

import asyncio
import contextlib
import random
from collections import Counter
from typing import Self

CHUNK_BYTES = 4096


class FaultyProxy:
    """Between anybody and one port. `calm` ends the faults; `faults` counts them by kind."""

    def __init__(self, port: int, seed: int) -> None:
        self._upstream = port
        self._chance = random.Random(seed)
        self._pairs: set[asyncio.Task] = set()
        self.calm = False
        self.faults: Counter = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()
        for pair in list(self._pairs):
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _accept(self, reader, writer) -> None:
        self._pairs.add(asyncio.current_task())
        try:
            await self._carry(reader, writer)
        finally:
            self._pairs.discard(asyncio.current_task())

    async def _carry(self, reader, writer) -> None:
        if self._happens("refused", 0.15):
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        ways = [
            asyncio.create_task(self._pump(reader, up_writer)),
            asyncio.create_task(self._pump(up_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for side in (writer, up_writer):
                side.transport.abort()

    async def _pump(self, source, sink) -> None:
        """One direction, until either end goes away or a fault ends it."""
        with contextlib.suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                if self._happens("delayed", 0.3):
                    await asyncio.sleep(self._chance.random() * 0.1)
                if self._happens("reset", 0.02):
                    return
                if self._happens("truncated", 0.02):
                    sink.write(data[: self._chance.randrange(len(data))])
                    await sink.drain()
                    return
                if self._happens("dead", 0.01):  # open, and nothing comes through any more
                    while not self.calm and await source.read(CHUNK_BYTES):
                        pass
                    return
                for piece in self._pieces(data):
                    sink.write(piece)
                    await sink.drain()

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self._happens("split", 0.3):
            return [data]
        cut = self._chance.randrange(1, len(data))
        return [data[:cut], data[cut:]]

    def _happens(self, kind: str, likely: float) -> bool:
        if self.calm or self._chance.random() >= likely:
            return False
        self.faults[kind] += 1
        return True
