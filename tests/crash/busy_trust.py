"""A process to be recorded: raises floors and keeps a signed list, and says what it has done.

python -m crash.busy_trust FOLDER FIRST LAST
"""

import os
import sys
from pathlib import Path

from dfedge.trust import file
from dfedge.trust.floor import Floors


def main(folder: Path, first: int, last: int) -> None:
    floors = Floors.load(folder)
    for number in range(first, last + 1):
        file.write(folder / "revocation", b"list %d\n" % number * 100)
        os.write(1, b"list %d\n" % number)
        floors.raise_to("revocation", (0, number))
        os.write(1, b"floor %d\n" % number)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
