"""Signed notes: the published vector, and that nothing altered is ever accepted."""

import base64
import json
import random
import string
import warnings

import pytest

from gateway.core.errors import DocumentError
from gateway.core.recharge import Outcome, Recharge
from gateway.documents.keys import decode_public_key
from gateway.documents.signed import (
    COMMAND_TYPE,
    MAX_RECHARGE_BYTES,
    RECHARGE_TYPE,
    NoteError,
    SigningKey,
    _signed_payload,
    read_recharge,
    verify,
)

# RFC 8037, appendix A.1 and A.4.
RFC_PUBLIC = decode_public_key("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
RFC_JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
PAYLOAD = {
    "v": 1,
    "gateway": "GW-1",
    "account": "A-101",
    "recharge_id": "R-1",
    "amount_paise": 50000,
    "currency": "INR",
    "seq": 17,
    "issued_at": "2026-11-24T10:00:00Z",
}
KEY = SigningKey.generate()
KEYS = {"office": KEY.public}


def body(**changes) -> bytes:
    return json.dumps(PAYLOAD | changes).encode()


def part(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def with_header(header) -> str:
    """A note whose signature is good for the header it carries."""
    signed = KEY.sign(b"x", "office", RECHARGE_TYPE)
    del signed
    signing_input = f"{part(header)}.{part(body())}"
    raw = KEY._key.get_op_key("sign").sign(signing_input.encode())
    return f"{signing_input}.{part(raw)}"


def outcome_of(note, keys=KEYS, typ=RECHARGE_TYPE) -> Outcome:
    with pytest.raises(NoteError) as caught:
        verify(note, keys, typ)
    return caught.value.outcome


def test_the_published_example_verifies():
    assert _signed_payload(RFC_JWS, RFC_PUBLIC) == b"Example of Ed25519 signing"


def test_the_published_example_is_no_recharge():
    assert outcome_of(RFC_JWS, {"office": RFC_PUBLIC}) is Outcome.MALFORMED


def test_a_signed_recharge_is_read():
    note = KEY.sign(body(), "office", RECHARGE_TYPE)
    payload = verify(note, KEYS, RECHARGE_TYPE)
    assert payload == body()
    assert read_recharge(payload) == Recharge(**PAYLOAD)


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_both_names_of_the_algorithm_are_accepted_without_a_warning(alg):
    note = with_header({"alg": alg, "kid": "office", "typ": RECHARGE_TYPE})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify(note, KEYS, RECHARGE_TYPE) == body()


def test_the_white_space_of_files_and_scanners_is_let_through():
    note = KEY.sign(body(), "office", RECHARGE_TYPE)
    assert verify(f"  {note}\r\n".encode(), KEYS, RECHARGE_TYPE) == body()


def test_a_harmless_unknown_header_is_ignored():
    note = with_header({"alg": "EdDSA", "kid": "office", "typ": RECHARGE_TYPE, "cty": "json"})
    assert verify(note, KEYS, RECHARGE_TYPE) == body()


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": ["EdDSA"]},
        {"alg": None},
        {"typ": COMMAND_TYPE},
        {"typ": "JWT"},
        {"typ": None},
        {"kid": ""},
        {"kid": 1},
        {"kid": None},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"b64": True},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": KEY.public_text}},
        {"jku": "https://keys.example/"},
        {"x5u": "https://keys.example/"},
        {"x5c": ["MII"]},
        {"pad": "x" * 500},
    ],
)
def test_a_header_we_do_not_want_is_malformed_though_well_signed(header):
    good = {"alg": "EdDSA", "kid": "office", "typ": RECHARGE_TYPE}
    assert verify(with_header(good), KEYS, RECHARGE_TYPE)
    assert outcome_of(with_header(good | header)) is Outcome.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"1",
        b"null",
        b"{",
        b"\xff",
        b"[" * 300,
        b'{"alg":"none","alg":"EdDSA","kid":"office","typ":"recharge+jws"}',
    ],
)
def test_a_header_that_is_no_plain_object_is_malformed(header):
    assert outcome_of(with_header(header)) is Outcome.MALFORMED


@pytest.mark.parametrize(
    "note",
    ["", ".", "..", "a.b", "a.b.c.d", "नोट", b"\xff\xfe", "a b.c.d", RFC_JWS.replace("-", "+")],
)
def test_what_is_no_note_is_malformed(note):
    assert outcome_of(note) is Outcome.MALFORMED


def test_a_note_beyond_the_limit_is_malformed_before_anything_is_decoded():
    assert outcome_of("A" * (MAX_RECHARGE_BYTES + 1)) is Outcome.MALFORMED
    long = KEY.sign(body(account="A" * MAX_RECHARGE_BYTES), "office", RECHARGE_TYPE)
    assert outcome_of(long) is Outcome.MALFORMED
    assert verify(long, KEYS, RECHARGE_TYPE, limit=100_000)


def test_an_unknown_key_is_told_as_such_and_may_succeed_later():
    note = KEY.sign(body(), "other", RECHARGE_TYPE)
    assert outcome_of(note) is Outcome.UNKNOWN_KEY
    assert Outcome.UNKNOWN_KEY.transient
    assert outcome_of(note, {}) is Outcome.UNKNOWN_KEY


def test_another_key_under_the_trusted_name_is_a_bad_signature():
    note = SigningKey.generate().sign(body(), "office", RECHARGE_TYPE)
    assert outcome_of(note) is Outcome.BAD_SIGNATURE


def test_a_signature_does_not_travel_to_another_payload():
    first = KEY.sign(body(), "office", RECHARGE_TYPE).split(".")
    second = KEY.sign(body(amount_paise=5_000_000), "office", RECHARGE_TYPE).split(".")
    assert outcome_of(f"{first[0]}.{second[1]}.{first[2]}") is Outcome.BAD_SIGNATURE


def test_a_payload_of_wrong_spelling_is_not_accepted_though_it_means_the_same():
    """The last character of 64 bytes in base64url has four unused bits."""
    note = KEY.sign(body(), "office", RECHARGE_TYPE)
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    for other in letters:
        if other != note[-1]:
            assert outcome_of(note[:-1] + other) is Outcome.BAD_SIGNATURE


def test_of_many_altered_notes_none_is_accepted_and_each_has_an_outcome():
    rng = random.Random(8037)
    note = KEY.sign(body(), "office", RECHARGE_TYPE)
    letters = string.ascii_letters + string.digits + "-_.=+/ \n\x00"
    tried = 0
    for _ in range(3000):
        altered = list(note)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            at = rng.randrange(len(altered))
            match rng.randrange(4):
                case 0:
                    altered[at] = rng.choice(letters)
                case 1:
                    altered.insert(at, rng.choice(letters))
                case 2:
                    del altered[at]
                case 3:
                    other = rng.randrange(len(altered))
                    altered[at], altered[other] = altered[other], altered[at]
        text = "".join(altered)
        if text.strip() == note:
            continue
        tried += 1
        assert outcome_of(text) in (
            Outcome.MALFORMED,
            Outcome.UNKNOWN_KEY,
            Outcome.BAD_SIGNATURE,
        )
        flipped = bytearray(note.encode())
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        if bytes(flipped).strip() != note.encode():
            outcome_of(bytes(flipped))
    assert tried > 2000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"v": 2}, "version 2"),
        ({"v": "1"}, "v:"),
        ({"amount_paise": 500.0}, "amount_paise"),
        ({"amount_paise": True}, "amount_paise"),
        ({"amount_paise": "500"}, "amount_paise"),
        ({"amount_paise": 0}, "must not be 0"),
        ({"amount_paise": -1}, "reverses"),
        ({"amount_paise": 10**30}, "beyond"),
        ({"currency": "USD"}, "INR"),
        ({"recharge_id": ""}, "recharge_id"),
        ({"account": None}, "account"),
        ({"ammount": 5}, "did you mean"),
    ],
)
def test_a_well_signed_payload_that_is_no_recharge_is_malformed(changes, told):
    with pytest.raises(NoteError) as caught:
        read_recharge(body(**changes))
    assert caught.value.outcome is Outcome.MALFORMED
    assert told in str(caught.value)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 4000])
def test_a_payload_that_is_no_object_is_malformed(payload):
    with pytest.raises(NoteError) as caught:
        read_recharge(payload)
    assert caught.value.outcome is Outcome.MALFORMED


def test_a_key_survives_its_pem_form():
    again = SigningKey.from_pem(KEY.to_pem())
    assert again.public == KEY.public
    assert decode_public_key(again.public_text) == KEY.public
    assert verify(again.sign(b"x", "office", COMMAND_TYPE), KEYS, COMMAND_TYPE) == b"x"


def test_what_is_no_private_ed25519_key_is_refused():
    public = KEY._key.as_pem(private=False).decode()
    for text in ("", "x", public, KEY.to_pem()[:60]):
        with pytest.raises(DocumentError, match="Ed25519"):
            SigningKey.from_pem(text)
