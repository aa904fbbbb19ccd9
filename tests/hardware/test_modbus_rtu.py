"""The Modbus RTU frames: published examples, both ends against each other, and noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.protocols.modbus_rtu import (
    MAX_REPLY_BUFFER_BYTES,
    MAX_REQUEST_BUFFER_BYTES,
    NEED_DATA,
    Bits,
    ExceptionCode,
    Garbled,
    ReadBits,
    ReadRegisters,
    Refused,
    Registers,
    ReplyReader,
    Request,
    RequestReader,
    WriteCoil,
    WriteRegister,
    WriteRegisters,
    Written,
    crc16,
    encode_exception,
    encode_reply,
    encode_request,
    reply_size_bytes,
    with_crc,
)

# Frames as makers print them. The first is the example of the Eastron SDM630 protocol sheet (volts
# of phase 1: 230.2), the second the one most Modbus primers use (unit 17, registers 108-110).
EASTRON_ASK, EASTRON_REPLY = "0104000000027 1CB", "01040443663334 1B38"
PRIMER_ASK, PRIMER_REPLY = "1103006B0003 7687", "110306AE41 5652 4340 49AD"


def frame(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def read(request: Request, *pieces: bytes):
    reader = ReplyReader(request)
    for piece in pieces:
        reader.feed(piece)
    return reader.result()


def fault(request: Request, data: bytes) -> str:
    reader = ReplyReader(request)
    reader.feed(data)
    assert reader.result() is NEED_DATA
    found = reader.fault()
    assert found is not None
    return found.reason


VOLTS = ReadRegisters(1, 4, 0, 2)
PRIMER = ReadRegisters(17, 3, 0x6B, 3)


# --- published frames -----------------------------------------------------------------------------


def test_the_check_value_of_the_catalogue_comes_out():
    assert crc16(b"123456789") == 0x4B37


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (VOLTS, EASTRON_ASK),
        (PRIMER, PRIMER_ASK),
        (ReadBits(17, 1, 0x13, 37), "11010013 0025 0E84"),
        (ReadBits(17, 2, 0xC4, 22), "110200C4 0016 BAA9"),
        (WriteCoil(17, 0xAC, on=True), "110500AC FF00 4E8B"),
        (WriteRegister(17, 1, 3), "11060001 0003 9A9B"),
        (WriteRegisters(17, 1, (10, 0x102)), "11100001 0002 04 000A 0102 C6F0"),
    ],
)
def test_requests_are_the_published_frames(request_, text):
    assert encode_request(request_) == frame(text)
    assert RequestReader().feed(frame(text)) == [request_]


@pytest.mark.parametrize(
    ("request_", "text", "reply"),
    [
        (VOLTS, EASTRON_REPLY, Registers((0x4366, 0x3334))),
        (PRIMER, PRIMER_REPLY, Registers((0xAE41, 0x5652, 0x4340))),
        (WriteCoil(17, 0xAC, on=True), "110500AC FF00 4E8B", Written()),
        (WriteRegister(17, 1, 3), "11060001 0003 9A9B", Written()),
        (WriteRegisters(17, 1, (10, 0x102)), "11100001 0002 1298", Written()),
        (ReadBits(10, 1, 0x4A1, 1), "0A8102 B053", Refused(2)),
    ],
)
def test_replies_are_read_from_the_published_frames(request_, text, reply):
    assert read(request_, frame(text)) == reply


def test_bits_are_read_from_the_published_frame_lowest_first():
    reply = read(ReadBits(17, 1, 0x13, 37), frame("110105 CD6BB20E1B 45E6"))
    assert isinstance(reply, Bits)
    assert len(reply.values) == 37
    assert reply.values[:8] == (True, False, True, True, False, False, True, True)
    assert reply.values[32:] == (True, True, False, True, True)


# --- what a request may be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ReadRegisters(0, 3, 0, 1), "unit address 0"),
        (lambda: ReadRegisters(248, 3, 0, 1), "unit address 248"),
        (lambda: ReadRegisters(1, 5, 0, 1), "function 5"),
        (lambda: ReadRegisters(1, 3, 0, 0), "count 0 is not between 1 and 125"),
        (lambda: ReadRegisters(1, 3, 0, 126), "count 126"),
        (lambda: ReadRegisters(1, 3, 65535, 2), "65535..65536"),
        (lambda: ReadRegisters(1, 3, -1, 1), "-1"),
        (lambda: ReadBits(1, 3, 0, 1), "function 3"),
        (lambda: ReadBits(1, 1, 0, 2001), "count 2001"),
        (lambda: WriteRegister(1, 0, 65536), "value 65536"),
        (lambda: WriteRegister(1, 0, -1), "value -1"),
        (lambda: WriteRegisters(1, 0, ()), "count 0 is not between 1 and 123"),
        (lambda: WriteRegisters(1, 0, (1,) * 124), "count 124"),
        (lambda: encode_reply(VOLTS, [1]), "2 values"),
        (lambda: encode_reply(VOLTS, [1, 70000]), "70000"),
    ],
)
def test_what_may_not_go_on_a_line_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_edges_of_the_ranges_are_allowed():
    assert ReadRegisters(247, 4, 65535, 1).count == 1
    assert ReadRegisters(1, 3, 0, 125).count == 125


# --- noise, truncation and other units' frames ----------------------------------------------------


@pytest.mark.parametrize("length", range(len(frame(EASTRON_REPLY))))
def test_no_truncated_reply_is_taken_for_a_reply(length):
    assert read(VOLTS, frame(EASTRON_REPLY)[:length]) is NEED_DATA


@pytest.mark.parametrize("position", range(len(frame(EASTRON_REPLY)) * 8))
def test_no_single_flipped_bit_passes(position):
    damaged = bytearray(frame(EASTRON_REPLY))
    damaged[position // 8] ^= 1 << position % 8
    assert read(VOLTS, bytes(damaged)) is NEED_DATA


@pytest.mark.parametrize("noise", ["00", "FF", "01", "0104", "010404", "01044366", EASTRON_ASK])
def test_noise_before_a_reply_costs_nothing(noise):
    assert read(VOLTS, frame(noise), frame(EASTRON_REPLY)) == Registers((0x4366, 0x3334))


def test_noise_inside_a_reply_spoils_it_and_the_repetition_is_taken():
    whole = frame(EASTRON_REPLY)
    spoilt = whole[:4] + b"\x00" + whole[4:]
    assert read(VOLTS, spoilt) is NEED_DATA
    assert read(VOLTS, spoilt, whole) == Registers((0x4366, 0x3334))


def test_noise_after_a_reply_does_not_change_it():
    other = encode_reply(VOLTS, [1, 2])
    assert read(VOLTS, frame(EASTRON_REPLY) + b"\x00\xff", other) == Registers((0x4366, 0x3334))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (encode_reply(ReadRegisters(2, 4, 0, 2), [1, 2]), "unit 2 answered instead of unit 1"),
        (encode_exception(ReadRegisters(2, 4, 0, 2), 2), "unit 2 answered"),
        (encode_reply(ReadRegisters(1, 3, 0, 2), [1, 2]), "function 3 came, but function 4"),
        (encode_reply(ReadRegisters(1, 4, 0, 3), [1, 2, 3]), "a reply of 11 bytes came, not 9"),
        (encode_request(VOLTS), "the adapter echoes"),
        (frame(EASTRON_REPLY)[:-1], "stops short"),
        (frame(EASTRON_REPLY)[:-1] + b"\x00", "check value is wrong"),
        (b"\x00\x00\x00", "3 bytes came that are no Modbus reply"),
    ],
)
def test_what_is_no_reply_to_this_request_is_refused_and_explained(other, words):
    assert words in fault(VOLTS, other)


def test_a_silent_line_has_no_fault_to_explain():
    assert ReplyReader(VOLTS).fault() is None


def test_a_write_reply_that_names_another_register_or_value_is_refused():
    request = WriteRegister(1, 7, 5)
    assert read(request, encode_reply(WriteRegister(1, 8, 5))) is NEED_DATA
    assert read(request, encode_reply(WriteRegister(1, 7, 6))) is NEED_DATA


@pytest.mark.parametrize("code", list(ExceptionCode))
def test_every_exception_has_words_and_its_number(code):
    reply = read(VOLTS, encode_exception(VOLTS, code))
    assert reply == Refused(code)
    assert f"exception {int(code)}" in reply.words
    assert "does not name" not in reply.words


def test_an_unknown_exception_is_still_a_refusal():
    reply = read(VOLTS, encode_exception(VOLTS, 0x77))
    assert isinstance(reply, Refused)
    assert "does not name (exception 119)" in reply.words


def test_a_babbling_line_ends_in_an_error_and_bounded_memory():
    reader = ReplyReader(VOLTS)
    for _ in range(MAX_REPLY_BUFFER_BYTES * 3):
        reader.feed(b"\x55")
    assert reader.result() == Garbled("the line never falls silent")
    assert len(reader._buffer) <= MAX_REPLY_BUFFER_BYTES + 1


# --- the other end --------------------------------------------------------------------------------


def test_the_server_finds_requests_between_noise_and_back_to_back():
    stream = b"\x01\x10\x00" + encode_request(VOLTS) + b"\xff\x04" + encode_request(PRIMER) * 2
    assert RequestReader().feed(stream) == [VOLTS, PRIMER, PRIMER]


@pytest.mark.parametrize(
    "body",
    [
        "0004 0000 0002",  # broadcast reads do not exist
        "0104 0000 0000",  # no registers
        "0104 0000 007E",  # 126 registers
        "0104 FFFF 0002",  # past the end
        "0105 0000 1234",  # a coil is FF00 or 0000
        "0163 0000 0002",  # a function no meter has
        "0110 0000 0002 03 0001 02",  # byte count does not fit
    ],
)
def test_the_server_ignores_what_no_master_may_ask(body):
    assert RequestReader().feed(with_crc(frame(body))) == []


def test_the_server_forgets_an_unfinished_frame_at_a_silence():
    server, ask = RequestReader(), encode_request(VOLTS)
    server.feed(ask[:5])
    server.silence()
    assert server.feed(ask[5:]) == []
    assert server.feed(ask) == [VOLTS]


def test_the_server_keeps_bounded_memory():
    server = RequestReader()
    for _ in range(20):
        server.feed(b"\x01\x10" * 200)
    assert len(server._buffer) <= MAX_REQUEST_BUFFER_BYTES
    assert server.feed(encode_request(VOLTS)) == [VOLTS]


# --- properties -----------------------------------------------------------------------------------

units = st.integers(1, 247)
words = st.integers(0, 0xFFFF)
addresses = st.integers(0, 0xFF00)
requests = st.one_of(
    st.builds(ReadRegisters, units, st.sampled_from([3, 4]), addresses, st.integers(1, 125)),
    st.builds(
        ReadBits, units, st.sampled_from([1, 2]), st.integers(0, 0xF000), st.integers(1, 2000)
    ),
    st.builds(WriteCoil, units, addresses, st.booleans()),
    st.builds(WriteRegister, units, addresses, words),
    st.builds(
        WriteRegisters, units, addresses, st.lists(words, min_size=1, max_size=123).map(tuple)
    ),
)


@given(request=requests, data=st.data())
def test_both_ends_understand_each_other_one_byte_at_a_time(request, data):
    server, heard = RequestReader(), []
    for byte in encode_request(request):
        heard += server.feed(bytes((byte,)))
    assert heard == [request]

    values: tuple = ()
    expected: object = Written()
    if isinstance(request, ReadRegisters):
        values = tuple(data.draw(st.lists(words, min_size=request.count, max_size=request.count)))
        expected = Registers(values)
    elif isinstance(request, ReadBits):
        mask = data.draw(st.integers(0, 2**request.count - 1))
        values = tuple(bool(mask >> index & 1) for index in range(request.count))
        expected = Bits(values)
    reply = encode_reply(request, values)
    assert len(reply) == reply_size_bytes(request)
    client = ReplyReader(request)
    for byte in reply:
        assert client.result() is NEED_DATA
        client.feed(bytes((byte,)))
    assert client.result() == expected


@given(request=requests, noise=st.binary(max_size=300), code=st.integers(1, 255))
def test_a_refusal_is_found_behind_any_noise(request, noise, code):
    assert read(request, noise, encode_exception(request, code)) == Refused(code)


@given(noise=st.binary(max_size=200), tail=st.binary(max_size=50), values=st.tuples(words, words))
def test_a_reply_is_found_behind_any_noise_and_before_any(noise, tail, values):
    assert read(VOLTS, noise + encode_reply(VOLTS, values) + tail) == Registers(values)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_bytes_whatever_raise(pieces):
    server, client = RequestReader(), ReplyReader(VOLTS)
    for piece in pieces:
        server.feed(piece)
        client.feed(piece)
    client.fault()
