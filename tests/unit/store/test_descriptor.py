"""Open files: bounded, never closed under their user, and given back when nothing is transferred."""

import os
from pathlib import Path

import pytest

from dfedge.store.descriptor import Descriptors


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / str(number) for number in range(3)]
    for path in found:
        path.touch()
    return found


def test_of_many_files_the_one_used_last_stays_open(paths: list[Path]) -> None:
    files, fds = Descriptors(most=2), []
    for path in paths:
        with files.borrow(path) as fd:
            fds.append(fd)
    assert [_is_open(fd) for fd in fds[1:]] == [True, True]
    assert len(files._open) == 2
    files.close()
    assert not any(_is_open(fd) for fd in fds)


def test_at_rest_nothing_stays_open_but_what_is_in_use(paths: list[Path]) -> None:
    files = Descriptors()
    with files.borrow(paths[0]) as used:
        with files.borrow(paths[1]) as idle:
            pass
        files.rest()
        assert _is_open(used) and not _is_open(idle)
    with files.borrow(paths[0]) as again:
        assert _is_open(again)
    files.close()
