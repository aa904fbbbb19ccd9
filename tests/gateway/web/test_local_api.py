"""The local API against whatever a socket can bring, over a real gateway without lines."""

import asyncio
import json
import os
import socket
import stat

import pytest

from gateway.app import App, Parts
from gateway.core.errors import InvariantBroken, StoreError
from gateway.documents.config import load_config
from gateway.web import local_api, rpc
from gateway.web.local_api import LocalApi, bind
from hardware.api import LineSettings
from hardware.registry import open_bus
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import Street


class Served:
    """A running gateway and one raw connection to it."""

    def __init__(self, app, api, task) -> None:
        self.app, self.api, self.task = app, api, task
        self.path = app.config.socket

    async def connect(self):
        return await asyncio.open_unix_connection(str(self.path), limit=rpc.MAX_REPLY_BYTES)

    async def say(self, line: bytes):
        reader, writer = await self.connect()
        writer.write(line)
        answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
        writer.close()
        return answer

    async def call(self, method, **params):
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return await self.say(json.dumps(request).encode() + b"\n")


@pytest.fixture
async def served(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text("[gateway]\nid = 'GW-1'\n[time]\ntrust_system_clock = true\n")
    parts = Parts(notify=lambda _: None)
    app = App(load_config(file), parts)
    api = LocalApi(app)
    parts.extra_tasks.append(api.run)
    task = asyncio.create_task(app.run())
    while not app.config.socket.exists():
        await asyncio.sleep(0.01)
    yield Served(app, api, task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_call_is_answered_under_its_own_id(served):
    answer = await served.call("account.list")
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": []}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json\n", rpc.PARSE_ERROR),
        (b"\xff\xfe\n", rpc.PARSE_ERROR),
        (b"[" * 100_000 + b"\n", rpc.PARSE_ERROR),
        (b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "status"}\n', rpc.PARSE_ERROR),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "\xed\xa0\x80"}\n', rpc.PARSE_ERROR),
        (b"\n", rpc.PARSE_ERROR),
        (b"[]\n", rpc.INVALID_REQUEST),
        (b'{"id": 1, "method": "status"}\n', rpc.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}\n', rpc.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "status", "params": [1]}\n', rpc.INVALID_PARAMS),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "nope"}\n', rpc.METHOD_UNKNOWN),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "account.show", "params": {"acount": "A"}}\n',
            rpc.INVALID_PARAMS,
        ),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "account.show", "params": {"account": 5}}\n',
            rpc.INVALID_PARAMS,
        ),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "account.show", "params": {"account": "A"}}\n',
            rpc.GATEWAY_ERROR,
        ),
        (
            (
                b'{"jsonrpc": "2.0", "id": 1, "method": "account.statement", "params":'
                b'{"account": "A", "first_day": "soon"}}\n'
            ),
            rpc.INVALID_PARAMS,
        ),
        (
            (
                b'{"jsonrpc": "2.0", "id": 1, "method": "meter.add", "params": {"meter": "../x",'
                b' "bus": "b", "address": 1, "model": "sdm120"}}\n'
            ),
            rpc.INVALID_PARAMS,
        ),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "meter.scan"}\n', rpc.GATEWAY_ERROR),
    ],
)
async def test_a_line_that_makes_no_sense_is_answered_and_the_gateway_lives(served, line, code):
    answer = await served.say(line)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert "result" in await served.call("status")


async def test_an_error_names_its_kind_and_what_to_try(served):
    error = (await served.call("account.show", account="A-9"))["error"]
    assert error["data"] == {
        "kind": "AccountUnknown",
        "hint": "List the accounts with: gateway account list",
    }


async def test_a_line_without_end_is_refused_at_a_bound(served):
    _, writer = await served.connect()

    async def flood():
        for _ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await flood()
    assert "result" in await served.call("status")


async def test_several_calls_on_one_connection_are_answered_in_order(served):
    reader, writer = await served.connect()
    for number in range(3):
        writer.write(rpc.encode({"jsonrpc": "2.0", "id": number, "method": "meter.list"}))
    writer.write(rpc.encode({"jsonrpc": "2.0", "method": "meter.list"}))  # wants no answer
    writer.write(rpc.encode({"jsonrpc": "2.0", "id": "last", "method": "meter.list"})[:-1])
    writer.write_eof()
    ids = [json.loads(line)["id"] async for line in reader]
    assert ids == [0, 1, 2, "last"]


async def test_only_so_many_connections_are_served_at_once(served, monkeypatch):
    monkeypatch.setattr(local_api, "MAX_CONNECTIONS", 2)
    held = [await served.connect() for _ in range(2)]
    await asyncio.sleep(0.05)
    reader, writer = await served.connect()
    refused = json.loads(await asyncio.wait_for(reader.readline(), 5))
    assert "too many" in refused["error"]["message"]
    for _, other in [*held, (reader, writer)]:
        other.close()
    await asyncio.sleep(0.05)
    assert "result" in await served.call("status")


async def test_an_idle_connection_is_closed(served, monkeypatch):
    monkeypatch.setattr(local_api, "IDLE_S", 0.05)
    reader, _ = await served.connect()
    assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_client_that_goes_away_does_not_stop_what_it_asked_for(served, monkeypatch):
    begun, done = asyncio.Event(), asyncio.Event()

    async def slow(note, road):
        begun.set()
        await asyncio.sleep(0.2)
        done.set()
        raise StoreError("told to nobody")

    monkeypatch.setattr(served.app.recharging, "apply", slow)
    _, writer = await served.connect()
    writer.write(
        rpc.encode({"jsonrpc": "2.0", "id": 1, "method": "recharge.apply", "params": {"note": "x"}})
    )
    await begun.wait()
    writer.transport.abort()
    await asyncio.wait_for(done.wait(), 5)
    assert "result" in await served.call("status")


async def test_a_client_that_does_not_read_its_answer_is_let_go(served, monkeypatch):
    monkeypatch.setattr(local_api, "TAKE_S", 0.05)
    monkeypatch.setattr(local_api, "read", lambda *_: "x" * 5_000_000)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(served.path))
        deaf.sendall(rpc.encode({"jsonrpc": "2.0", "id": 1, "method": "status"}))
        await asyncio.sleep(0.02)
        assert len(served.api._open) == 1
        await asyncio.sleep(0.3)
        assert len(served.api._open) == 0


async def test_a_scan_stops_when_its_client_goes_and_the_line_is_free_again(
    served, monkeypatch, tmp_path
):
    street = Street("scan", 1, [RegisterImage(served.app.library.get("sdm120"))])
    with SimLine(tmp_path / "port", street.slaves(), LineSettings(9600)):
        bus = open_bus(
            "b", str(tmp_path / "port"), LineSettings(), served.app.library, poll_interval_s=1.0
        )
        monkeypatch.setattr(served.app, "buses", {"b": bus})
        reader, writer = await served.connect()
        writer.write(rpc.encode({"jsonrpc": "2.0", "id": 1, "method": "meter.scan"}))
        assert json.loads(await reader.readline())["params"]["done"] == 0
        writer.transport.abort()
        async with asyncio.timeout(5):  # the whole scan would take minutes
            async with bus.borrowed():
                pass
        assert "result" in await served.call("status")


async def test_a_bug_in_one_answer_is_told_and_does_not_end_the_gateway(served, monkeypatch):
    async def broken(note, road):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(served.app.recharging, "apply", broken)
    answer = await served.call("recharge.apply", note="x")
    assert answer["error"]["code"] == rpc.INTERNAL_ERROR
    assert answer["error"]["data"]["kind"] == "ZeroDivisionError"
    assert "result" in await served.call("status")


async def test_a_broken_ledger_ends_the_gateway_whoever_finds_it(served, monkeypatch):
    async def broken(note, road):
        raise InvariantBroken("sums differ")

    monkeypatch.setattr(served.app.recharging, "apply", broken)
    answer = await served.call("recharge.apply", note="x")
    assert answer["error"]["data"]["kind"] == "InvariantBroken"
    with pytest.raises(BaseExceptionGroup) as ended:
        await asyncio.wait_for(served.task, 5)
    assert ended.value.split(InvariantBroken)[1] is None
    assert not served.path.exists()


async def test_the_socket_is_for_its_user_and_group_and_goes_with_the_gateway(served):
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o660
    served.task.cancel()
    await asyncio.gather(served.task, return_exceptions=True)
    assert not served.path.exists()


def test_the_socket_is_never_wider_than_its_mode_even_under_a_careless_umask(tmp_path, monkeypatch):
    seen = []
    chmod = type(tmp_path).chmod

    def spy(self, mode, **more):
        seen.append(stat.S_IMODE(self.stat().st_mode))
        chmod(self, mode, **more)

    monkeypatch.setattr(type(tmp_path), "chmod", spy)
    before = os.umask(0)
    try:
        bind(tmp_path / "s").close()
    finally:
        os.umask(before)
    assert seen == [0o660]


def test_a_stale_socket_is_removed_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "s"
    stale = bind(path)
    stale.close()
    live = bind(path)
    live.listen()
    with pytest.raises(StoreError, match="another gateway answers"):
        bind(path)
    live.close()
    assert path.exists()


def test_something_else_in_the_way_is_not_removed(tmp_path):
    path = tmp_path / "s"
    path.write_text("a letter")
    with pytest.raises(StoreError, match="not a socket"):
        bind(path)
    assert path.read_text() == "a letter"


def test_both_ends_agree_on_a_request(tmp_path):
    here, there = socket.socketpair()
    here.sendall(rpc.encode({"jsonrpc": "2.0", "id": 3, "method": "m", "params": {"a": "é\n"}}))
    line = there.recv(1000)
    assert line.count(b"\n") == 1
    assert rpc.decode_request(line) == rpc.Request(3, "m", {"a": "é\n"})
    here.close()
    there.close()
