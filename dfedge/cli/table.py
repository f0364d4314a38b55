"""Rows under a header, set for people: text left, numbers right, no boxes, never wrapped."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], room: int | None = None) -> list[str]:
    """Lay out the lines; a heading that begins with `>` is of numbers, set right.

    The last columns are dropped until it fits in `room` characters; what still does not fit is the caller's.
    """
    titles = [title.removeprefix(">") for title in header]
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    count = len(widths)
    while room is not None and count > 1 and sum(widths[:count]) + 2 * (count - 1) > room:
        count -= 1
    lines = []
    for row in [titles, *rows]:
        cells = [
            cell.rjust(width) if title.startswith(">") else cell.ljust(width)
            for cell, width, title in zip(row, widths, header, strict=True)
        ]
        lines.append("  ".join(cells[:count]).rstrip())
    return lines
