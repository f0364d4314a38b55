"""An image far larger than the memory of a board, most of it zeros, as images of whole disks are."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Board, fleet_of

MIB = 1024 * 1024
GIB = 1024 * MIB
REAL = 64  # pieces that are not zeros
MEMORY = 96 * MIB  # what an agent may take at most
MANIFEST = 16 * MIB

pytestmark = [pytest.mark.alone, pytest.mark.long]


def disk(path: Path, nbytes: int) -> Path:
    """An image of a disk: a few MiB here and there, and nothing between them."""
    with path.open("wb") as file:
        file.truncate(nbytes)
        for number in range(REAL):
            file.seek(nbytes // REAL * number)
            file.write(hashlib.shake_256(number.to_bytes(4, "big")).digest(MIB))
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak(board: Board) -> int:
    """The most memory its agent has had, in bytes."""
    assert board.process is not None
    status = Path(f"/proc/{board.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def on_disk(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[list[Board]]:
    with fleet_of(tmp_path, 2) as found:
        yield found


def test_a_large_sparse_image_takes_its_data_and_no_more_of_memory_disk_and_line(
    boards: list[Board], tmp_path: Path
) -> None:
    source, target = disk(tmp_path / "disk.img", 4 * GIB), tmp_path / "out.img"
    seed, taker = boards
    published = seed.ask("publish", str(source), "--name", "disk", "--version", "1")
    assert published["pieces"] == 4096
    (manifest,) = (seed.state / "manifests").glob("*.manifest")
    assert manifest.stat().st_size < MANIFEST * 4 // 20  # the manifest of 20 GiB keeps under the limit as well
    got = taker.ask("get", "disk:1", "-o", str(target))
    assert got["bytes_fetched"] == REAL * MIB and got["bytes_wasted"] == 0
    assert got["bytes_reused"] == 4 * GIB - REAL * MIB
    assert sha256(target) == sha256(source)
    assert taker.ask("verify", "disk:1")["bad"] == 0
    for board in boards:
        assert peak(board) < MEMORY
        assert on_disk(board.state) < 2 * REAL * MIB
    assert target.stat().st_blocks * 512 < 2 * REAL * MIB
