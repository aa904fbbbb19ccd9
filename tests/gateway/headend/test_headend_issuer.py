"""Signing: keys in private files, ids used once, seq rising, reversals within what was given."""

import json
import stat
from datetime import UTC, datetime

import pytest

from gateway.core.errors import AlreadyExists, DocumentError, NotFound, Refused
from gateway.documents.config import load_config
from gateway.documents.signed import RECHARGE_TYPE, read_recharge, verify
from gateway.headend.copy import CloudEvent, HeadendCopy, Issued
from gateway.headend.issuer import Issuer, NamedKey, create_key, load_key
from gateway.services.outgoing import cloud_event
from gateway.store.outbox import OutboxEvent


@pytest.fixture
def copy(tmp_path):
    copy = HeadendCopy(tmp_path / "headend.db")
    yield copy
    copy.close()


@pytest.fixture
def key(tmp_path) -> NamedKey:
    return create_key(tmp_path / "office.key", "office-2026")


@pytest.fixture
def issuer(copy, key) -> Issuer:
    return Issuer(copy, key, now=lambda: datetime(2026, 11, 24, 10, tzinfo=UTC))


def answer(copy, sequence: int, kind: str, data: dict) -> None:
    row = OutboxEvent(sequence, kind, "A-1", 1795550400, "ntp", data)
    copy.store("GW-1", [CloudEvent(**cloud_event("GW-1", row))])


def receipt(copy, sequence: int, note: Issued, outcome: str) -> Issued:
    data = {"recharge_id": note.recharge_id, "outcome": outcome, "balance_paise": 1}
    answer(copy, sequence, "recharge.receipt", data)
    found = copy.issued(note.recharge_id)
    assert found is not None
    return found


def test_a_key_file_is_private_never_overwritten_and_read_back(tmp_path, key):
    path = tmp_path / "office.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).kid == "office-2026"
    assert load_key(path).key.public == key.key.public
    before = path.read_bytes()
    with pytest.raises(AlreadyExists):
        create_key(path, "office-2026")
    assert path.read_bytes() == before


@pytest.mark.parametrize("kid", ["", "a b", "a\nkid: b", "x" * 65, '"'])
def test_a_key_name_that_would_not_fit_a_configuration_is_refused(tmp_path, kid):
    with pytest.raises(DocumentError):
        create_key(tmp_path / "k", kid)
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("kid", ["office-2026", "office.2026"])
def test_the_line_for_the_configuration_is_understood_there(tmp_path, kid):
    named = create_key(tmp_path / "k", kid)
    file = tmp_path / "gateway.toml"
    file.write_text(f'[gateway]\nid = "GW-1"\n[keys.recharge]\n{named.config_line}\n')
    assert load_config(file).recharge_keys == {kid: named.key.public}


@pytest.mark.parametrize(
    "text", ["", "kid: x\n", "-----BEGIN PRIVATE KEY-----\n", "kid: x\n-----BEGIN x"]
)
def test_what_is_no_key_file_is_told(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(DocumentError):
        load_key(path)
    with pytest.raises(DocumentError, match="cannot be read"):
        load_key(tmp_path / "none")


def test_a_signed_recharge_is_what_a_gateway_verifies_and_reads(issuer, key):
    note = issuer.recharge("GW-1", "A-101", 50000)
    payload = verify(note.note, {"office-2026": key.key.public}, RECHARGE_TYPE)
    recharge = read_recharge(payload)
    assert (recharge.gateway, recharge.account, recharge.amount_paise) == ("GW-1", "A-101", 50000)
    assert recharge.recharge_id == note.recharge_id
    assert json.loads(payload)["issued_at"] == "2026-11-24T10:00:00Z"
    assert recharge.reverses is None


def test_seq_rises_for_each_gateway_apart_and_ids_differ(issuer):
    notes = [issuer.recharge(gateway, "A", 100) for gateway in ("GW-1", "GW-1", "GW-2", "GW-1")]
    assert [note.seq for note in notes] == [1, 2, 1, 3]
    assert len({note.recharge_id for note in notes}) == 4


def test_a_recharge_id_is_never_used_again(issuer, copy):
    issuer.recharge("GW-1", "A", 100, "R-1")
    for gateway in ("GW-1", "GW-2"):
        with pytest.raises(AlreadyExists, match="R-1"):
            issuer.recharge(gateway, "A", 100, "R-1")
    assert issuer.recharge("GW-1", "A", 100).seq == 2, "a refused one takes no number"
    assert len(copy.open_notes(10)) == 2


@pytest.mark.parametrize("amount_paise", [0, -5, 10**12])
def test_an_amount_that_is_no_recharge_is_refused(issuer, copy, amount_paise):
    with pytest.raises(Refused):
        issuer.recharge("GW-1", "A", amount_paise)
    assert copy.open_notes(10) == []


def test_a_reversal_names_what_it_takes_back_and_takes_no_more(issuer, key):
    issuer.recharge("GW-1", "A", 100, "R-1")
    part = issuer.reversal("R-1", 30)
    assert (part.amount_paise, part.reverses, part.account) == (-30, "R-1", "A")
    recharge = read_recharge(verify(part.note, {"office-2026": key.key.public}, RECHARGE_TYPE))
    assert (recharge.amount_paise, recharge.reverses) == (-30, "R-1")
    with pytest.raises(Refused, match="70 paise are left"):
        issuer.reversal("R-1", 71)
    assert issuer.reversal("R-1").amount_paise == -70
    with pytest.raises(Refused):
        issuer.reversal("R-1")
    with pytest.raises(Refused, match="itself a reversal"):
        issuer.reversal(part.recharge_id)
    with pytest.raises(NotFound):
        issuer.reversal("R-9")


def test_a_note_is_open_until_a_receipt_that_settles_it(issuer, copy):
    note = issuer.recharge("GW-1", "A", 100)
    assert receipt(copy, 1, note, "UNKNOWN_ACCOUNT").outcome == "UNKNOWN_ACCOUNT"
    assert copy.open_notes(10), "it may succeed when the account is opened"
    done = receipt(copy, 2, note, "CREDITED")
    assert done.settled
    assert done.receipt is not None
    assert done.receipt["balance_paise"] == 1
    assert not copy.open_notes(10)


@pytest.mark.parametrize("outcome", ["CONFLICT", "WRONG_GATEWAY"])
def test_a_refusal_for_good_settles_a_note(issuer, copy, outcome):
    note = issuer.recharge("GW-1", "A", 100)
    assert receipt(copy, 1, note, outcome).settled


def test_a_success_stays_one_whatever_is_said_later(issuer, copy):
    note = issuer.recharge("GW-1", "A", 100)
    receipt(copy, 1, note, "CREDITED")
    assert receipt(copy, 2, note, "UNKNOWN_ACCOUNT").outcome == "CREDITED"
    assert receipt(copy, 3, note, "nonsense").outcome == "CREDITED"


def test_a_rejected_note_is_known_by_its_digest(issuer, copy):
    note = issuer.recharge("GW-1", "A", 100)
    answer(copy, 1, "recharge.rejected", {"outcome": "UNKNOWN_KEY", "digest": note.digest})
    assert [open_note.outcome for open_note in copy.open_notes(10)] == ["UNKNOWN_KEY"]
    answer(copy, 2, "recharge.rejected", {"outcome": "MALFORMED", "digest": note.digest})
    assert copy.open_notes(10) == []


def test_a_receipt_from_another_gateway_settles_nothing(issuer, copy):
    note = issuer.recharge("GW-2", "A", 100)
    assert receipt(copy, 1, note, "CREDITED").outcome is None
