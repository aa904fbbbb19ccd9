"""A disk in memory: what was recorded is laid on it, and the power is cut after any step.

The model, more cruel than a good disk and as cruel as a bad one that still honours a sync:
- What was written since a file's last sync may be there or not, write by write and 512-byte sector
  by sector, in any combination; a file may have grown with zeros where the data should be.
- A sync makes everything before it durable in that file; it says nothing of other files.
- A name that was made or removed is durable once the folder was synced, before that perhaps; names
  follow one another in order, as in a journalling file system.
"""

import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512
_HEAD = struct.Struct("<ciqI")

Image = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the program did: see recorder.c for the letters."""

    op: str
    file: int
    offset: int
    data: bytes


def read_journal(path: Path) -> list[Step]:
    """Everything that was recorded, in order."""
    raw, steps, at = path.read_bytes(), [], 0
    while at < len(raw):
        op, file, offset, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        steps.append(Step(op.decode(), file, offset, raw[at : at + length]))
        at += length
    return steps


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Disk:
    """The state after some steps: what is durable and what is only under way."""

    files: dict[int, _File] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)  # durable
    renamed: list[Step] = field(default_factory=list)  # creations and removals under way

    def take(self, step: Step) -> None:
        """Do one recorded step."""
        match step.op:
            case "W" | "T":
                self.files[step.file].pending.append(step)
            case "S":
                file = self.files[step.file]
                for each in file.pending:
                    _apply(file.durable, each)
                file.pending.clear()
            case "C":
                self.files[step.file] = _File()
                self.renamed.append(step)
            case "U":
                self.renamed.append(step)
            case "D":
                self.names = self._named(len(self.renamed))
                self.renamed.clear()

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way: a cut here has one outcome only."""
        return not self.renamed and not any(file.pending for file in self.files.values())

    def kept(self) -> Image:
        """The power goes, and everything that was written happens to be there."""
        return self._image(len(self.renamed), lambda step: [step])

    def dropped(self) -> Image:
        """The power goes, and nothing is there but what was synced."""
        return self._image(0, lambda _: [])

    def torn(self, chance: random.Random) -> Image:
        """The power goes in the middle of it all, in one of very many ways."""
        names = chance.randint(0, len(self.renamed))
        whole = chance.random() < 0.4
        likely = chance.choice((0.1, 0.5, 0.9))

        def survive(step: Step) -> Iterator[Step]:
            if whole or step.op == "T":
                if chance.random() < likely:
                    yield step
                return
            if chance.random() < 0.1:  # it has its length already, and nothing in it
                yield Step("Z", step.file, step.offset, step.data)
            for sector in _sectors(step):
                if chance.random() < likely:
                    yield sector

        return self._image(names, survive)

    def _named(self, count: int) -> dict[str, int]:
        names = dict(self.names)
        for step in self.renamed[:count]:
            name = step.data.decode()
            if step.op == "C":
                names[name] = step.file
            else:
                names.pop(name, None)
        return names

    def _image(self, names: int, survive) -> Image:
        image = {}
        for name, number in sorted(self._named(names).items()):
            file = self.files[number]
            content = bytearray(file.durable)
            for step in file.pending:
                for part in survive(step):
                    _apply(content, part)
            image[name] = bytes(content)
        return image


def _sectors(step: Step) -> Iterator[Step]:
    """A write cut at the disk's own sector limits."""
    at = 0
    while at < len(step.data):
        size = SECTOR_BYTES - (step.offset + at) % SECTOR_BYTES
        yield Step("W", step.file, step.offset + at, step.data[at : at + size])
        at += size


def _apply(content: bytearray, step: Step) -> None:
    if step.op == "T":
        if step.offset < len(content):
            del content[step.offset :]
        else:
            content.extend(bytes(step.offset - len(content)))
        return
    end = step.offset + len(step.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if step.op == "W":
        content[step.offset : end] = step.data
