"""deploy/asyncapi.yaml says what the code does: real messages are checked against its schemas."""

import ast
import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from rig import FIXED, RUPEE, Rig, tariff

from gateway.core.moment import Trust
from gateway.core.recharge import Outcome
from gateway.core.supply import Hold
from gateway.core.tariff import Component
from gateway.documents.signed import NoteError, read_recharge
from gateway.headend.copy import CloudEvent, HeadendCopy
from gateway.headend.issuer import Issuer, NamedKey, SigningKey
from gateway.link.api import Topics, last_will
from gateway.services.alarms import Alarm
from gateway.services.outgoing import BATCH_BYTES, BATCH_EVENTS, BatchReader
from gateway.services.posting import HoldMove
from gateway.store import outbox
from hardware.api import MeterSpec
from hardware.datafile import parse_json

ROOT = Path(__file__).parents[3]
DOCUMENT = yaml.safe_load((ROOT / "deploy" / "asyncapi.yaml").read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def strict() -> dict:
    """The document with every object closed: the code may send nothing that is not described."""
    document = copy.deepcopy(DOCUMENT)
    for name, schema in document["components"]["schemas"].items():
        if name not in ("Event", "Envelope") and "properties" in schema:
            schema["additionalProperties"] = False
    return document


def validator(name: str) -> jsonschema.Draft7Validator:
    schema = strict() | {"$ref": f"#/components/schemas/{name}"}
    # A $ref hides its siblings in draft 7, but they are there to be referred to.
    return jsonschema.Draft7Validator(
        {"allOf": [{"$ref": schema["$ref"]}], "components": schema["components"]},
        format_checker=jsonschema.FormatChecker(),
    )


def references(node) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for value in node.values() for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


def described_types() -> set[str]:
    return {each["properties"]["type"]["const"] for each in SCHEMAS["Event"]["allOf"][1]["oneOf"]}


def sent_types() -> set[str]:
    """Every literal event type that the code puts into the outbox."""
    found = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func) != "outbox.put" or len(node.args) < 2:
                continue
            kind = node.args[1]
            if isinstance(kind, ast.Constant):
                found.add(kind.value)
    return found | {"alarm.raised", "alarm.cleared"}  # chosen by a variable


def test_every_reference_in_the_document_leads_somewhere():
    found = references(DOCUMENT)
    assert len(found) > 40
    for reference in found:
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_schema_is_one():
    for name in SCHEMAS:
        jsonschema.Draft7Validator.check_schema(SCHEMAS[name])


def test_the_channels_are_the_topics_of_the_code():
    topics = Topics("{gateway}")
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == {*topics.down, topics.events, topics.state}
    assert DOCUMENT["asyncapi"] == "3.0.0"
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")


def test_the_code_sends_exactly_the_event_types_that_are_described():
    assert sent_types() == described_types()


def test_the_words_are_those_of_the_code():
    assert SCHEMAS["Outcome"]["enum"] == [outcome.value for outcome in Outcome]
    assert SCHEMAS["Hold"]["enum"] == [hold.value for hold in Hold]
    assert SCHEMAS["TimeTrust"]["enum"] == [trust.name.lower() for trust in Trust]
    components = SCHEMAS["Entry"]["properties"]["component"]["enum"]
    assert components == [*(component.value for component in Component), None]
    text = DOCUMENT["channels"]["events"]["description"]
    assert f"{BATCH_EVENTS} events" in text
    assert f"{BATCH_BYTES // 1024} KiB" in text


def test_the_last_will_is_described():
    validator("State").validate(json.loads(last_will("GW-1").body))


@pytest.fixture
async def lived(tmp_path):
    """A gateway after a life in which everything happened once."""
    key = NamedKey("office", SigningKey.generate())
    headend = HeadendCopy(tmp_path / "headend.db")
    issuer = Issuer(headend, key, now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    rig = Rig(tmp_path, keys={"office": key.key.public})
    plan = tariff("5.00", **FIXED)
    await rig.home(balance_paise=10 * RUPEE, plan=plan)
    await rig.settle()
    rig.use(3000)
    await rig.settle()  # exhausted: hold, operation
    note = issuer.recharge("GW-1", "A-1", 500 * RUPEE)
    for text in (
        note.note,
        note.note,
        issuer.recharge("GW-1", "nobody", 100).note,
        issuer.recharge("GW-2", "A-1", 100).note,
        issuer.reversal(note.recharge_id, 100).note,
        "rubbish",
    ):
        await rig.recharging.apply(text.encode(), "mqtt")
    await rig.settle()
    lock = HoldMove(Hold.LINEMAN_LOCK, placed=True, reason="work on the pole", actor="lineman")
    await rig.books.move_hold("A-1", lock)
    rig.alarms.raise_(Alarm.METER_SILENT, "M1", "no answer", rig.clock.now().iso())
    await rig.settle()
    rig.alarms.clear(Alarm.METER_SILENT, "M1")
    await rig.enforcement._tell_proof(
        rig.account(), rig.enforcement.stations["A-1"].position, obeyed=True
    )
    rig.clock.advance(900)
    rig.use(10)
    await rig.books._keep_interval()
    await rig.commissioning.load_tariff(tariff("6.00", **FIXED), ("A-1",))
    rig.bus.registers["M2"] = 5
    await rig.commissioning.add_meter(MeterSpec("M2", "rs485-0", 7, "sdm120"))
    await rig.commissioning.remove_meter("M2")
    rig.clock.advance(86400)
    rig.use(500)
    await rig.settle()
    await rig.commissioning.close_account("A-1")
    await rig.settle()
    yield rig
    await rig.stop()
    headend.close()


class Reader:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def pending(self, after: int, limit: int):
        return outbox.pending(self._rig.db.reader, after, limit)


async def test_everything_a_gateway_says_in_its_life_fits_the_document(lived):
    reader = BatchReader("GW-1", Reader(lived))
    batch = reader.next(0)
    assert batch is not None
    events = json.loads(batch.body)
    check = validator("EventBatch")
    for event in events:
        errors = [error.message for error in check.iter_errors([event])]
        assert not errors, (event, errors)
    check.validate(events)
    assert {event["type"] for event in events} == described_types()
    assert parse_json(batch.body, list[CloudEvent], name="batch")


async def test_every_entry_field_that_is_described_is_sent(lived):
    entries = [entry for event in lived.events("ledger.entries") for entry in event.data["entries"]]
    kinds = {entry["kind"] for entry in entries}
    assert kinds == set(SCHEMAS["Entry"]["properties"]["kind"]["enum"])
    for entry in entries:
        assert set(entry) == set(SCHEMAS["Entry"]["properties"])


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 0},
        {"sequence": "7"},
        {"timetrust": "surely"},
        {"type": "ledger.entry"},
        {"id": "7"},
        {"time": 5},
        {"data": {"entries": []}},
        {"data": None},
    ],
)
async def test_the_document_refuses_what_is_no_event(lived, change):
    reader = BatchReader("GW-1", Reader(lived))
    batch = reader.next(0)
    assert batch is not None
    event = next(each for each in json.loads(batch.body) if each["type"] == "ledger.entries")
    check = validator("EventBatch")
    assert check.is_valid([event])
    assert not check.is_valid([event | change])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seq": 5, "issued_at": "2026-11-24T10:00:00Z"},
        {"v": 2},
        {"amount_paise": 0},
        {"amount_paise": 5.5},
        {"amount_paise": 10**10},
        {"amount_paise": "5"},
        {"currency": "USD"},
        {"recharge_id": ""},
        {"recharge_id": "x" * 129},
        {"account": None},
        {"more": 1},
        {"seq": "5"},
    ],
)
def test_the_document_and_the_code_agree_what_a_recharge_is(change):
    body = {
        "v": 1,
        "gateway": "GW-1",
        "account": "A-1",
        "recharge_id": "R-1",
        "amount_paise": 100,
        "currency": "INR",
    } | change
    try:
        read_recharge(json.dumps(body).encode())
        accepted = True
    except NoteError:
        accepted = False
    assert validator("RechargePayload").is_valid(body) is accepted


def test_a_signed_note_has_the_shape_that_is_described():
    note = SigningKey.generate().sign(b"{}", "office", "recharge+jws")
    check = validator("Note")
    assert check.is_valid(note)
    assert not check.is_valid(note + "=")
    assert not check.is_valid(note[:-1])
