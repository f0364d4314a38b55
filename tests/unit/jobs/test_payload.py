"""The file that is deployed: what is not dfedge's, or not as it was built, reaches no host."""

import zipfile
from pathlib import Path

import pytest
from fakehost import a_file

from dfedge.core.errors import Corrupt, NotFound
from dfedge.jobs.payload import Payload


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", a_file()[:-10]])
def test_what_is_not_our_file_is_never_copied(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(Corrupt, match=r"is no dfedge.pyz"):
        Payload.load(tmp_path / "file")
    with pytest.raises(NotFound, match="does not exist"):
        Payload.load(tmp_path / "none")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_that_was_altered_is_told_here_before_any_host_gets_it(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "dfedge.pyz"
    body = bytes(range(256)) * 40
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("__main__.py", body)
    data = bytearray(path.read_bytes())
    Payload.of(bytes(data), "dfedge.pyz")
    data[60] ^= 1
    with pytest.raises(Corrupt, match=r"dfedge.pyz: is damaged: ") as caught:
        Payload.of(bytes(data), "dfedge.pyz")
    assert "--file" in caught.value.hint
