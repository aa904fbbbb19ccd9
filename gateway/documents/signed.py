"""Signed notes: JWS compact strings with Ed25519, the same by MQTT, file or QR code.

Rules of this file: it is the only one that imports joserfc. The algorithm is pinned; the header may
not bring or point to a key, nor ask for processing we do not do; the text must be the one canonical
spelling of its bytes; the signature is checked over the received bytes before the payload is
parsed. Formats: RFC 7515 (JWS), RFC 8037 (Ed25519 in JOSE, `alg` EdDSA), RFC 9864 (`alg` Ed25519).
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from gateway.core.errors import DocumentError
from gateway.core.recharge import Outcome, Recharge
from gateway.documents.keys import decode_public_key, encode_public_key
from hardware.datafile import DataFileError, parse_json

RECHARGE_TYPE = "recharge+jws"
COMMAND_TYPE = "command+jws"
ALGORITHMS = ("EdDSA", "Ed25519")

# A recharge is some 400 bytes; a command carries a tariff or policy file of a few kilobytes.
MAX_RECHARGE_BYTES = 4096
MAX_COMMAND_BYTES = 65536
# joserfc refuses longer ones as well.
MAX_HEADER_BYTES = 512

# Headers that bring a key, point to one, or change what is signed (RFC 7515 4.1, RFC 7797).
_REFUSED_HEADERS = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc")
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


class NoteError(DocumentError):
    """A signed note is not accepted; `outcome` is what a receipt says of it."""

    def __init__(self, outcome: Outcome, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.outcome = outcome


class SigningKey:
    """A private Ed25519 key, for the head-end's side."""

    def __init__(self, key: OKPKey) -> None:
        if not key.is_private or key.curve_name != "Ed25519":
            raise DocumentError("this is not a private Ed25519 key")
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key from the operating system's randomness."""
        return cls(OKPKey.generate_key("Ed25519", private=True))

    @classmethod
    def from_pem(cls, text: str) -> "SigningKey":
        """Read a PKCS#8 PEM file. Raises `DocumentError`."""
        try:
            return cls(OKPKey.import_key(text))
        except (JoseError, ValueError, TypeError) as error:
            raise DocumentError(
                "this is not a private Ed25519 key in PEM form",
                hint="Make one with: gateway headend keygen",
            ) from error

    def to_pem(self) -> str:
        """The key as PKCS#8 PEM, unencrypted: keep it in a file that only its owner can read."""
        return self._key.as_pem(private=True).decode("ascii")

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return decode_public_key(str(self._key.as_dict(private=False)["x"]))

    @property
    def public_text(self) -> str:
        """The public key as the configuration file takes it."""
        return encode_public_key(self.public)

    def sign(self, payload: bytes, kid: str, typ: str) -> str:
        """The payload as a JWS compact string."""
        header = {"alg": "EdDSA", "kid": kid, "typ": typ}
        with _eddsa_named_as_rfc_8037_does():
            return jws.serialize_compact(header, payload, self._key, registry=_REGISTRY)


def verify(
    text: bytes | str, keys: Mapping[str, bytes], typ: str, *, limit: int = MAX_RECHARGE_BYTES
) -> bytes:
    """Check a note against the trusted `keys` (kid: 32 bytes) and give its payload, unparsed.

    White space around the note is let through, as files and scanners add it. Raises `NoteError`
    with MALFORMED, UNKNOWN_KEY or BAD_SIGNATURE.
    """
    note = _plain(text, limit)
    shape = _SHAPE.fullmatch(note)
    if shape is None:
        raise NoteError(
            Outcome.MALFORMED,
            "this is not a signed note: three parts of letters, digits, - and _, joined by dots",
            hint="Was it copied whole, on one line?",
        )
    kid = _kid(_header(shape[1]), typ)
    public = keys.get(kid)
    if public is None:
        known = ", ".join(sorted(keys)) or "none"
        raise NoteError(
            Outcome.UNKNOWN_KEY,
            f"this note is signed with key {kid!r}, which is not trusted here",
            hint=f"Trusted: {known}. A new key goes into the configuration under [keys].",
        )
    return _signed_payload(note, public)


def read_recharge(payload: bytes) -> Recharge:
    """Parse a verified payload. Raises `NoteError` MALFORMED."""
    try:
        return parse_json(payload, Recharge, name="recharge")
    except (DataFileError, RecursionError) as error:
        raise NoteError(Outcome.MALFORMED, str(error)) from error


def _plain(text: bytes | str, limit: int) -> str:
    if len(text) > limit:
        raise NoteError(Outcome.MALFORMED, f"a note of {len(text)} bytes is beyond {limit}")
    if isinstance(text, str):
        return text.strip()
    try:
        return text.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise NoteError(
            Outcome.MALFORMED, f"a note has no such byte as the one at {error.start}"
        ) from error


def _header(part: str) -> dict[str, Any]:
    """The header as it was sent: it is judged before the signature, to know whose key to take."""
    if len(part) > MAX_HEADER_BYTES:
        raise NoteError(Outcome.MALFORMED, f"the note's header is beyond {MAX_HEADER_BYTES} bytes")
    try:
        header = json.loads(_decoded(part), object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise NoteError(Outcome.MALFORMED, f"the note's header cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise NoteError(Outcome.MALFORMED, "the note's header is not an object")
    return header


def _kid(header: dict[str, Any], typ: str) -> str:
    for name in _REFUSED_HEADERS:
        if name in header:
            raise NoteError(Outcome.MALFORMED, f"the note's header may not carry {name!r}")
    if header.get("alg") not in ALGORITHMS:
        raise NoteError(Outcome.MALFORMED, f"alg {header.get('alg')!r} is not EdDSA or Ed25519")
    if header.get("typ") != typ:
        raise NoteError(Outcome.MALFORMED, f"typ {header.get('typ')!r} is not {typ!r}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise NoteError(Outcome.MALFORMED, "the note does not name its key (kid)")
    return kid


def _signed_payload(note: str, public: bytes) -> bytes:
    """The payload of a note whose signature is by `public`, over the received bytes."""
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": encode_public_key(public)})
        with _eddsa_named_as_rfc_8037_does():
            return jws.deserialize_compact(note, key, registry=_REGISTRY).payload
    except (JoseError, ValueError, TypeError) as error:
        raise NoteError(
            Outcome.BAD_SIGNATURE,
            "the note's signature does not fit its content and key",
            hint="Ask for it to be sent again; if it fails again, it was altered.",
        ) from error


def _decoded(part: str) -> bytes:
    """Decode base64url without padding in its one canonical spelling. Raises ValueError."""
    raw = urlsafe_b64decode(part.encode("ascii"))
    if urlsafe_b64encode(raw).decode("ascii") != part:
        raise ValueError("it is not canonical base64url")
    return raw


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ValueError("a name stands in it twice")
    return header


@contextmanager
def _eddsa_named_as_rfc_8037_does() -> Iterator[None]:
    """Joserfc warns that RFC 9864 renamed `EdDSA` to `Ed25519`; both mean the same here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)
        yield
