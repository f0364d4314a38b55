"""How the publisher cuts files into pieces. A node that fetches never cuts; it only trusts digests."""

from typing import Final

from dfedge.core.image.manifest import MAX_PIECE, MAX_PIECES

SMALLEST: Final = 64 * 1024  # bytes; below it headers and packets cost more than the shorter tail saves
SMALL_IMAGE: Final = 16 * 1024 * 1024  # bytes; a larger one has 128 pieces of twice that
LARGEST: Final = 1024 * 1024  # bytes, unless a huge image would have too many pieces
PIECES_PER_NODE: Final = 16  # makespan is S/R · (1 + nodes/pieces): 6 % over the optimum
USUAL_FLEET: Final = 16  # nodes a piece size is made for when fewer are seen


def piece_size(image_bytes: int, takers: int) -> int:
    """Choose how long pieces are, in bytes: the largest power of two with 16 pieces a taker, 64 KiB to 1 MiB.

    A piece can't be passed on before it is whole and proven, so fleets want small ones. But each piece is a word to
    each neighbour: with 32 a taker sixteen nodes need twice the CPU. Raises ValueError over 8 TB.
    """
    wanted = image_bytes // (PIECES_PER_NODE * max(takers, USUAL_FLEET))
    length = SMALLEST if image_bytes < SMALL_IMAGE else 2 * SMALLEST
    while length * 2 <= min(wanted, LARGEST):
        length *= 2
    while image_bytes // length >= MAX_PIECES // 2:
        length *= 2
    if length > MAX_PIECE:
        raise ValueError(f"{image_bytes:,} bytes are more than an image may have")
    return length


def cut(size: int, length: int) -> tuple[tuple[int, int], ...]:
    """Cut a file of `size` bytes into pieces of `length`, the last may be shorter; as runs of (length, count)."""
    whole, rest = divmod(size, length)
    return tuple(run for run in ((length, whole), (rest, 1)) if run[0] and run[1])
