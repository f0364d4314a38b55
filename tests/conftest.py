"""Shared by all tests."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The agent runs on asyncio, so its tests do."""
    return "asyncio"
