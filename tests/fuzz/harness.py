"""Coverage-guided fuzzing of one decoder: `harness.py NAME SECONDS CORPUS`. Ends with 0 unless an input broke it.

What it finds stands in the working folder as `crash-…`; put it into tests/fuzz/corpus/NAME once the decoder is mended.
"""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1])]

with atheris.instrument_imports(include=["dfedge"]):
    from fuzz.decoders import DECODERS


def main(name: str, seconds: str, corpus: str) -> None:
    """Fuzz for so long."""
    call, seeds = DECODERS[name]
    for number, seed in enumerate(seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", corpus], call
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
