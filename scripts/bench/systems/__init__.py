"""The systems that are compared, one module each."""

from collections.abc import Mapping
from typing import Final

from bench.system import System
from bench.systems.aria2 import Aria2
from bench.systems.dfedge import Dfedge, DfedgeToFile
from bench.systems.libtorrent import Libtorrent
from bench.systems.rsync import Rsync, RsyncOverSsh
from bench.systems.uftp import Uftp

SYSTEMS: Final[Mapping[str, type[System]]] = {
    one.name: one for one in (Dfedge, DfedgeToFile, Libtorrent, Aria2, Uftp, Rsync, RsyncOverSsh)
}
