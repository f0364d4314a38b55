"""Reading everything back from disk, to find what has rotted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dfedge.core.seams import ImageId
from dfedge.store.held import HeldImage

Progress = Callable[[int, int], None]  # pieces checked so far, pieces to check


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How many held pieces were hashed, and which did not match; those have left their maps."""

    checked: int
    bad: tuple[tuple[ImageId, int], ...]


async def verify(
    images: Sequence[ImageId], open_image: Callable[[ImageId], HeldImage], on_progress: Progress
) -> VerifyReport:
    """Hash every held piece from disk, not from the page cache. Calls `on_progress` after each."""
    total = sum(len(open_image(image).holds) for image in images)
    checked = 0
    bad: list[tuple[ImageId, int]] = []
    for image in images:
        held = open_image(image)
        held.forget_cache()
        for piece in list(held.holds):
            checked += 1
            if piece in held.holds and not await held.recheck(piece):
                bad.append((image, piece))
            on_progress(checked, total)
    return VerifyReport(checked, tuple(bad))
