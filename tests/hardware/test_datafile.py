"""A file that people write becomes what the schema says, or an error that says where and what."""

import dataclasses
from decimal import Decimal

import pytest

from hardware.datafile import DataFileError, load_toml, parse_json, parse_toml


@dataclasses.dataclass(frozen=True)
class Slab:
    upto: int
    rate: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("a rate is not negative")


@dataclasses.dataclass(frozen=True)
class Document:
    name: str
    slabs: tuple[Slab, ...] = ()
    named: dict[str, Slab] | None = None


def test_a_number_with_a_point_stays_exact():
    document = parse_toml('name = "x"\nslabs = [{upto = 1, rate = 4.10}]', Document, name="f")

    assert document.slabs[0].rate == Decimal("4.10")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "x"\nslabs = [{upto = 1, rte = 4}]', "f: slabs[0].rte: unknown key; did you mean"),
        ('name = "x"\n[named.a]\nupt = 1', "f: named.a.upt: unknown key; did you mean upto?"),
        ('name = "x"\ncolour = 1', "f: colour: unknown key; known: name, slabs, named"),
        ('name = "x"\nslabs = [{upto = 1, rate = -4.1}]', "f: slabs[0]: a rate is not negative"),
        ("name = 1", "f: name: Expected `str`, got `int`"),
        ("slabs = []", "missing required field `name`"),
        ("name = ", "f: is not valid TOML"),
        ('name = "x"\nnamed = 3', "f: named: Expected"),
    ],
)
def test_a_fault_is_told_with_its_place(text, told):
    with pytest.raises(DataFileError) as caught:
        parse_toml(text, Document, name="f")

    assert told in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataFileError, match=r"nothing\.toml: cannot be read"):
        load_toml(tmp_path / "nothing.toml", Document)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(DataFileError, match=r"latin\.toml: is not UTF-8"):
        load_toml(tmp_path / "latin.toml", Document)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b'{"name": 1}', b"\xff", b"[" * 9999])
def test_json_that_is_not_the_schema_is_refused(body):
    with pytest.raises(DataFileError):
        parse_json(body, Document, name="body")
