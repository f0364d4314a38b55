"""A file that is named to `dfedge import` and is nothing of ours is called that, by its name."""

from pathlib import Path

import pytest

from dfedge.cli.bundlefile import revocation_in
from dfedge.core.canonical import pack
from dfedge.core.errors import Corrupt
from dfedge.core.image.bundle import MAGIC


@pytest.mark.parametrize("data", [b"junk\n", b"\xff" * 300, bytes(100_000)])
def test_a_file_that_is_nothing_of_ours_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "junk.bundle"
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"junk\.bundle: is neither a bundle nor a revocation list"):
        revocation_in(path)


def test_a_bundle_is_none_and_a_statement_is_handed_on_to_be_judged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(MAGIC + b"rest")
    assert revocation_in(path) is None
    path.write_bytes(pack((b"body", b"signature")))
    assert revocation_in(path) == pack((b"body", b"signature"))
