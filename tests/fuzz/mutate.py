"""Changes to inputs, by seed: for short runs, and where no coverage-guided tool is installed."""

import random
from collections.abc import Sequence

INTERESTING = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa1",
    b"\\ud800", b"NaN", b"-1", b"0", b"1e999", b"9" * 20, b"9" * 400, b"9223372036854775808",
    b"null", b"true", b"[]", b"{}", b'""', b"'", b'"', b"\n", b"=", b"[" * 300, b"{" * 50, b".",
    b"inf", b"nan", b"-0.0", b"0.001", b"\xe2\x82\xb9", b"\x00\x00", b"..", b"/", b" ", b"+", b"#",
)  # fmt: skip
LONGEST = 20_000


class Mutator:
    """Gives one changed input after another."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> None:
        self._chance = random.Random(seed)
        self._seeds = list(seeds) or [b""]
        self._words = [*INTERESTING, *words]

    def next(self) -> bytes:
        """A seed with one to a few changes; now and then a seed as it is, or noise."""
        chance = self._chance
        if chance.random() < 0.02:
            return chance.randbytes(chance.randint(0, 300))
        data = bytearray(chance.choice(self._seeds))
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
            self._change(data)
        return bytes(data[:LONGEST])

    def _change(self, data: bytearray) -> None:
        chance = self._chance
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 8, 32)))
        match chance.randrange(7):
            case 0:
                data[at:end] = chance.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = chance.choice(self._words)
            case 3:
                data[at:end] = chance.choice(self._words)
            case 4:  # a piece of another input
                other = chance.choice(self._seeds)
                start = chance.randint(0, len(other))
                data[at:end] = other[start : start + chance.randint(0, 64)]
            case 5:  # the same again
                data[at:at] = data[at:end] * chance.randint(1, 9)
            case 6:
                if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
