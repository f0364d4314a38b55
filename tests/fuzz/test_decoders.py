"""No bytes that others wrote crash a node or are read in two ways: by chance here, guided by coverage with --long."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.decoders import DECODERS
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
SECONDS = 20

_edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), max_size=6
)  # where, how many bytes go, what comes instead


def _corpus(name: str) -> list[bytes]:
    """What every run begins with: good ones, and what once broke a decoder."""
    found = [path.read_bytes() for path in sorted((HERE / "corpus" / name).glob("*"))]
    return [*DECODERS[name][1], *found]


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_corpus_holds_is_read_or_refused(name: str) -> None:
    for data in _corpus(name):
        DECODERS[name][0](data)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150)
@given(data=st.binary(max_size=300))
def test_no_bytes_break_a_decoder(name: str, data: bytes) -> None:
    DECODERS[name][0](data)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=300)
@given(data=st.data(), edits=_edits)
def test_nothing_nearly_right_breaks_a_decoder(
    name: str, data: st.DataObject, edits: list[tuple[int, int, bytes]]
) -> None:
    changed = bytearray(data.draw(st.sampled_from(_corpus(name))))
    for at, gone, put in edits:
        start = at % (len(changed) + 1)
        changed[start : start + gone] = put
    DECODERS[name][0](bytes(changed))


@pytest.mark.long
@pytest.mark.parametrize("name", DECODERS)
def test_coverage_guided_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris for this Python: pip install atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in (HERE / "corpus" / name).glob("*"):
        shutil.copy(path, corpus)
    done = subprocess.run(
        [sys.executable, str(HERE / "harness.py"), name, str(SECONDS), str(corpus)],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr, done.stderr[-1000:]
