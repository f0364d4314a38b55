"""What a user loses if one fails: a node that forgets over a restart that an image was whole here, and mends none."""

import errno
from pathlib import Path

import pytest

from dfedge.core.errors import Corrupt, DfedgeError
from dfedge.core.seams import ImageId
from dfedge.store.damage import Damages
from dfedge.store.layout import Layout

IMAGE = ImageId(b"i" * 32)
NOW = 1_900_000_000.0


class Ledger:
    """A ledger of damage, and a disk that refuses as long as something stands where the image's folder has to be."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        layout = Layout(folder)
        self.folder = layout.partial_image(IMAGE)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.damages = Damages(layout, lambda: NOW, self._fault, self.told.append)

    def _fault(self, doing: str, error: OSError) -> DfedgeError:
        self.told.append(f"{doing} {errno.errorcode[error.errno or 0]}")
        return Corrupt(doing)

    def refuse(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        def touch(path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
            raise OSError(number, "refused", str(path))

        monkeypatch.setattr(Path, "touch", touch)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC])
def test_what_the_disk_refused_is_remembered_and_written_when_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ledger = Ledger(tmp_path)
    with monkeypatch.context() as broken:
        ledger.refuse(broken, number)
        ledger.damages.mark(IMAGE)
        ledger.damages.mark_again()
        assert ledger.told == [f"can't be written {errno.errorcode[number]}"] * 2
        assert ledger.damages.since([IMAGE]) == {IMAGE: NOW}
    ledger.damages.mark_again()
    again = Ledger(tmp_path)  # after a restart the disk alone knows
    assert IMAGE in again.damages.since([IMAGE])
    ledger.damages.mark_again()
    assert len(ledger.told) == 2


def test_an_image_that_became_whole_meanwhile_is_not_marked_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    with monkeypatch.context() as broken:
        ledger.refuse(broken, errno.EIO)
        ledger.damages.mark(IMAGE)
    ledger.damages.forget(IMAGE)
    ledger.damages.mark_again()
    assert ledger.damages.since([IMAGE]) == {}
    assert not ledger.folder.exists() or not list(ledger.folder.iterdir())


def test_a_foreign_folder_in_the_way_is_told_and_the_mark_is_kept_in_mind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.folder.symlink_to(tmp_path)
    ledger.damages.mark(IMAGE)
    assert ledger.told
    assert ledger.damages.since([IMAGE]) == {IMAGE: NOW}
    ledger.folder.unlink()
    ledger.damages.mark_again()
    assert IMAGE in Ledger(tmp_path).damages.since([IMAGE])
