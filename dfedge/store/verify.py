"""Reading everything back from disk, to find what has rotted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dfedge.core.seams import ImageId
from dfedge.store.held import HeldImage
from dfedge.store.worker import Workers

Progress = Callable[[int, int], None]  # pieces checked so far, pieces to check


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How many held pieces were hashed, and which did not match; those have left their maps."""

    checked: int
    bad: tuple[tuple[ImageId, int], ...]


async def verify(
    images: Sequence[ImageId], open_image: Callable[[ImageId], HeldImage], workers: Workers, on_progress: Progress
) -> VerifyReport:
    """Hash every held piece from disk, not from the page cache. Calls `on_progress` after each."""
    total = sum(len(open_image(image).holds) for image in images)
    begun = checked = 0

    async def count() -> None:
        nonlocal begun
        if begun:
            on_progress(begun, total)
        begun += 1

    bad: list[tuple[ImageId, int]] = []
    for image in images:
        held = open_image(image)
        found = await held.check(list(held.holds), workers, count)
        checked += found.pieces
        bad += [(image, piece) for piece in found.bad]
    if checked:
        on_progress(checked, checked)
    return VerifyReport(checked, tuple(bad))
