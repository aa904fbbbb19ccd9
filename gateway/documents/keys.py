"""Public keys as text: 32 bytes of Ed25519 in base64url without padding, as in a JWK's `x`."""

import base64
import binascii
import re

PUBLIC_KEY_BYTES = 32

# 32 bytes are 43 characters; a trailing `=` is what other tools add, and is let through.
_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}=?")


def decode_public_key(text: str) -> bytes:
    """Read a public key. Raises ValueError that says what the text should look like."""
    plain = text.strip()
    if not _SHAPE.fullmatch(plain):
        raise ValueError(
            "is not an Ed25519 public key in base64url (43 letters, digits, - or _), "
            "as `gateway headend keygen` prints it"
        )
    try:
        raw = base64.urlsafe_b64decode(plain.rstrip("=") + "=")
    except binascii.Error as error:
        raise ValueError(f"is not base64url: {error}") from error
    if encode_public_key(raw) != plain.rstrip("="):
        raise ValueError("ends in a character that cannot end 32 bytes: was it cut or mistyped?")
    return raw


def encode_public_key(raw: bytes) -> str:
    """Write a public key's 32 bytes. Raises ValueError for another length."""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise ValueError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(raw)}")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
