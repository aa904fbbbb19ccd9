"""The head-end of a scenario: the real one, with a key, ids and dates that follow from the seed."""

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.documents.signed import SigningKey
from gateway.headend.collector import Collector
from gateway.headend.copy import HeadendCopy
from gateway.headend.issuer import Issuer, NamedKey
from gateway.link.api import Link

KID = "office"


class Office:
    """Signs recharges and collects what the gateway reports."""

    def __init__(self, folder: Path, seed: str, link: Link) -> None:
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key = NamedKey(KID, SigningKey.from_pem(pem.decode()))
        self.public_key = key.key.public
        self.copy = HeadendCopy(folder / "headend.db")
        ids = random.Random(f"{seed}/ids")
        self.issuer = Issuer(
            self.copy,
            key,
            now=lambda: datetime.fromtimestamp(0, UTC),
            new_id=lambda: f"R-{ids.getrandbits(48):012x}",
        )
        self.collector = Collector(self.copy, link)
