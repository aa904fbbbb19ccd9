"""One target under atheris (libFuzzer), in a process that it owns.

`python -m tests.fuzz.guided TARGET FOLDER SECONDS SEED`: the seeds are written into the folder, and
so is the case that fails, as `failed-*`.
"""

import logging
import sys
from pathlib import Path

import atheris

# Imported first under instrumentation: what is covered is what is new.
with atheris.instrument_imports(include=["gateway", "hardware"]):
    from tests.fuzz.run import SLOW_S, target_of


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    name, folder, seconds, seed = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    logging.disable(logging.CRITICAL)
    target = target_of(name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if word))
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={int(SLOW_S)}",
        f"-artifact_prefix={folder}/failed-",
        "-max_len=8192",
        "-rss_limit_mb=2048",
    ]
    if target.words:
        options.append(f"-dict={words}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.make())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
