"""Put a comparison into docs/performance.md, where the one before stood."""

from pathlib import Path

from board import promise


def write(page: Path, name: str, text: str) -> None:
    """Replace what is between the markers of `name`, or add it at the end. Raises Broken for a lone marker."""
    begins, ends = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Performance\n"
    block = f"{begins}\n{text.strip()}\n{ends}"
    found = (old.count(begins), old.count(ends))
    promise(found in {(0, 0), (1, 1)}, f"{page}: {found[0]} × {begins} and {found[1]} × {ends}; one of each is meant")
    if found == (0, 0):
        new = f"{old.rstrip()}\n\n{block}\n"
    else:
        before, _, rest = old.partition(begins)
        _, end, after = rest.partition(ends)
        promise(bool(end), f"{page}: {ends} stands before {begins}")
        new = f"{before}{block}{after}"
    page.write_text(new, encoding="utf-8")
