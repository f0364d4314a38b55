"""A store on a real disk, that can be left as a killed agent leaves it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dfedge.store.store import Store


class Ticker:
    """Seconds since 1970; each look takes one."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        self.at += 1
        return self.at


OpenStore = Callable[..., Store]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Open the store of this test; one opened before is closed first, as by the end of its agent."""
    opened: list[Store] = []
    clock = Ticker()

    def open_it(quota: int | None = None, keep_free: int = 0, state: Path | None = None) -> Store:
        for store in opened:
            store.close()
        opened[:] = [Store.open(state or tmp_path / "state", quota, keep_free, clock)]
        return opened[0]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"
