"""uftp: one stream for all by multicast, at a rate the user must know beforehand."""

import subprocess
from pathlib import Path
from typing import ClassVar, Final

from bench import outfit
from bench.scenario import Scenario
from bench.stage import SEED, exit_code
from bench.system import System

SHARE: Final = 0.95  # of the slowest link
UNSHAPED_MBIT: Final = 1000.0  # what a user of a gigabit LAN would say


class Uftp(System):
    name: ClassVar = "uftp"
    words: ClassVar = (
        "multicast in plaintext at 0.95 of the slowest link's rate (of 1 Gbit/s where links are not shaped); "
        "uftpd runs at every taker before"
    )

    @classmethod
    def missing(cls, scenario: Scenario) -> str:
        if scenario.late:
            return "multicast has no late joiners"
        if scenario.seed_dies_at is not None:
            return "only the seed sends"
        return outfit.command_missing("uftp", "uftp")

    def prepare(self) -> None:
        stage = self.stage
        self._sender: subprocess.Popen[str] | None = None
        self._takers: dict[int, subprocess.Popen[str]] = {}
        for taker in stage.scenario.numbers:
            temp = stage.at(taker) / "temp"
            temp.mkdir()
            argv: list[str | Path] = ["uftpd", "-d", "-q", "-I", "eth0", "-D", stage.output(taker).parent, "-T", temp]
            self._takers[taker] = stage.start(taker, argv)
        stage.await_that(lambda: all(_listens(one.pid) for one in self._takers.values()), "uftpd to listen")

    def go(self, _taker: int) -> None:
        stage = self.stage
        if self._sender is not None:
            return
        slowest = min(rate or UNSHAPED_MBIT for rate in stage.scenario.rates)
        takers = ",".join(stage.lan.address(one) for one in stage.scenario.numbers)
        rate = str(int(SHARE * slowest * 1000))
        self._sender = stage.start(SEED, ["uftp", "-q", "-I", "eth0", "-R", rate, "-H", takers, stage.image.path])

    def done(self, taker: int) -> bool:
        sender = self._sender
        if self.stage.output(taker).exists():  # it is moved there when it is whole
            return True
        if sender is not None and exit_code(sender) is not None:
            return self.stage.output(taker).exists() or self.stage.succeeded(sender, SEED)
        return False


def _listens(pid: int) -> bool:
    """Whether uftpd has joined its multicast group, 230.4.4.1."""
    return "010404E6" in Path(f"/proc/{pid}/net/igmp").read_text(encoding="ascii")
