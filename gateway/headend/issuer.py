"""Signing recharges: keys in files that only their owner can read, each note recorded for ever.

Rules of this file: a note exists only once it is recorded in the head-end's database, under a
recharge_id that was never used and the gateway's next `seq`. Signing the same sale twice is refused
here, and would be credited once by the gateway.
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.core.errors import AlreadyExists, DocumentError, NotFound, Refused
from gateway.core.moment import iso_utc
from gateway.core.recharge import Recharge
from gateway.documents.config import MAX_KID_LENGTH
from gateway.documents.signed import RECHARGE_TYPE, SigningKey
from gateway.headend.copy import HeadendCopy, Issued

_KID_LINE = re.compile(r"(?m)^kid: (.+)$")
_KID = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A private key and the name under which gateways trust its public half."""

    kid: str
    key: SigningKey

    @property
    def config_line(self) -> str:
        """What goes under `[keys.recharge]` in a gateway's configuration."""
        name = self.kid if "." not in self.kid else f'"{self.kid}"'
        return f'{name} = "{self.key.public_text}"'


def create_key(path: Path, kid: str) -> NamedKey:
    """Make a key pair and keep it in a new file of mode 0600. Raises `AlreadyExists`."""
    if not _KID.fullmatch(kid) or len(kid) > MAX_KID_LENGTH:
        raise DocumentError(
            f"key name {kid!r} must be 1 to {MAX_KID_LENGTH} letters, digits, - _ .",
            hint="Choose one such as office-2026.",
        )
    named = NamedKey(kid, SigningKey.generate())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AlreadyExists(
            f"{path} exists and is not overwritten",
            hint="A lost key cannot be made again; choose another file.",
        ) from None
    except OSError as error:
        raise DocumentError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"kid: {kid}\n{named.key.to_pem()}")
        file.flush()
        os.fsync(file.fileno())
    return named


def load_key(path: Path) -> NamedKey:
    """Read a key file that `create_key` wrote. Raises `DocumentError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{path}: cannot be read: {error}", hint="Make one with: gateway headend keygen"
        ) from error
    kid = _KID_LINE.search(text)
    begin = text.find("-----BEGIN")
    if kid is None or begin < 0:
        raise DocumentError(
            f"{path}: is not a key file: it needs a line `kid: NAME` and a PEM key",
            hint="Make one with: gateway headend keygen",
        )
    return NamedKey(kid[1].strip(), SigningKey.from_pem(text[begin:]))


def _random_id() -> str:
    return f"R-{secrets.token_hex(10)}"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Issuer:
    """Signs recharges and reversals and records them in `copy`."""

    copy: HeadendCopy
    key: NamedKey
    now: Callable[[], datetime] = _now
    new_id: Callable[[], str] = field(default=_random_id)

    def recharge(
        self, gateway: str, account: str, amount_paise: int, recharge_id: str | None = None
    ) -> Issued:
        """Sign a credit. Raises `AlreadyExists` for a used id, `Refused` for a bad amount."""
        if amount_paise <= 0:
            raise Refused(
                f"a recharge of {amount_paise} paise is none",
                hint="To take one back, reverse it by its recharge_id.",
            )
        return self._sign(gateway, account, amount_paise, recharge_id or self.new_id(), None)

    def reversal(self, recharge_id: str, amount_paise: int | None = None) -> Issued:
        """Sign the taking back of a recharge, or of a part. Raises `NotFound` or `Refused`."""
        original = self.copy.issued(recharge_id)
        if original is None:
            raise NotFound(f"no recharge {recharge_id!r} was issued here")
        if original.reverses is not None:
            raise Refused(f"{recharge_id} is itself a reversal", hint="Issue a recharge instead.")
        taken_paise = sum(
            -note.amount_paise
            for note in self.copy.notes(original.gateway)
            if note.reverses == recharge_id
        )
        left_paise = original.amount_paise - taken_paise
        wanted_paise = left_paise if amount_paise is None else amount_paise
        if not 0 < wanted_paise <= left_paise:
            raise Refused(f"of {recharge_id}, {left_paise} paise are left to take back")
        return self._sign(
            original.gateway, original.account, -wanted_paise, self.new_id(), recharge_id
        )

    def _sign(
        self, gateway: str, account: str, amount_paise: int, recharge_id: str, reverses: str | None
    ) -> Issued:
        with self.copy.transaction() as db:
            row = db.execute(
                "SELECT coalesce(max(seq), 0) + 1 FROM issued WHERE gateway = ?", (gateway,)
            ).fetchone()
            payload: dict[str, Any] = {
                "v": 1,
                "gateway": gateway,
                "account": account,
                "recharge_id": recharge_id,
                "amount_paise": amount_paise,
                "currency": "INR",
                "seq": row[0],
                "issued_at": iso_utc(int(self.now().timestamp())),
            }
            if reverses is not None:
                payload["reverses"] = reverses
            try:
                Recharge(**payload)
            except ValueError as error:
                raise Refused(str(error)) from error
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
            note = self.key.key.sign(body, self.key.kid, RECHARGE_TYPE)
            digest = hashlib.sha256(note.encode()).hexdigest()
            issued = Issued(
                recharge_id, gateway, row[0], account, amount_paise, reverses, note, digest
            )
            try:
                db.execute(
                    "INSERT INTO issued (recharge_id, gateway, seq, account, amount_paise,"
                    " reverses, note, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (recharge_id, gateway, row[0], account, amount_paise, reverses, note, digest),
                )
            except sqlite3.IntegrityError as error:
                raise AlreadyExists(
                    f"recharge {recharge_id!r} was issued before",
                    hint="It need not be signed again: it is sent until its receipt comes.",
                ) from error
        return issued
