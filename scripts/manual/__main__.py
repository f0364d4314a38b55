"""Writes the man page and the completions where build-deb takes them from."""

import gzip
import os
import sys
import time
from pathlib import Path

from manual.bash import bash
from manual.command import commands
from manual.fish import fish
from manual.page import page
from manual.zsh import zsh


def main(output: Path, epoch: int) -> None:
    """Write them under `output`, laid out as in /. The same `epoch` gives the same bytes."""
    found = commands()
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    files = {
        "man/man1/dfedge.1.gz": gzip.compress(page(found, date).encode(), 9, mtime=0),
        "bash-completion/completions/dfedge": bash(found).encode(),
        "zsh/vendor-completions/_dfedge": zsh(found).encode(),
        "fish/vendor_completions.d/dfedge.fish": fish(found).encode(),
    }
    for name, data in files.items():
        path = output / "usr/share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["SOURCE_DATE_EPOCH"]))
