"""Prepare and clean up: the image, a temporary folder, the right to make namespaces; then the story."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Final

from board import Broken, promise
from lab import available
from lab.command import LabError

from demo_run.screen import say
from demo_run.source import Source, find
from demo_run.story import tell

ROOM: Final = 26  # times the image that six stores, the outputs and two more images take at most
KEEP_FREE: Final = 512 * 1024 * 1024  # bytes beside that; a node keeps 256 MiB free
END_S: Final = 15.0  # what the story may take to tidy up once it is told to end


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Spread a real image over a LAN of six nodes on this machine, then kill one and let it resume.",
    )
    parser.add_argument(
        "image",
        nargs="?",
        type=Path,
        help="a file, or a description as in firmware_images/; Debian's AAVMF if left out",
    )
    parser.add_argument("--staged", type=Path, help=argparse.SUPPRESS)  # the folder, in a user namespace of our own
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us with & has it ignored
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        if args.staged:
            tell(Source.load(args.staged / "source.json"), args.staged)
            return 0
        return _from_the_start(args.image)
    except (Broken, LabError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped; everything it made is removed", file=sys.stderr)
        return 130


def _from_the_start(image: Path | None) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dfdemo-", dir=_roomiest()) as made:
        folder = Path(made)
        source = find(image, folder)
        needed = ROOM * max(source.size, 64 * 1024 * 1024) + KEEP_FREE
        free = shutil.disk_usage(folder).free
        promise(free >= needed, f"{folder.parent} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; set TMPDIR")
        if os.geteuid() == 0:
            tell(source, folder)
            code = 0
        else:
            source.save(folder / "source.json")
            code = _in_user_namespace(folder)
    if code == 0:
        say(f"Took {time.monotonic() - started:.0f} s; nothing of it is left on this machine.")
    return code


def _in_user_namespace(folder: Path) -> int:
    """Play the story as the root of a user namespace of our own, and pass on a wish to stop."""
    promise(shutil.which("unshare") is not None, "without root the command unshare is needed (package util-linux)")
    # A /run of our own: what root left in the machine's would be in the way, and is not ours to change.
    unshared = ["unshare", "-Urnm", "sh", "-c", 'mount -t tmpfs -o mode=0755 demo /run && exec "$@"', "sh"]
    probe = subprocess.run([*unshared, "true"], capture_output=True, text=True, check=False)
    promise(probe.returncode == 0, f"no user namespaces here ({probe.stderr.strip()}); run it as root")
    story = subprocess.Popen([*unshared, sys.executable, "-m", "demo_run", "--staged", str(folder)])
    try:
        return story.wait()
    except BaseException:
        story.send_signal(signal.SIGTERM)
        try:
            story.wait(END_S)
        except subprocess.TimeoutExpired:
            story.kill()
        raise


def _roomiest() -> str:
    """$TMPDIR if set; else of /tmp and /var/tmp the one with more room."""
    if asked := os.environ.get("TMPDIR"):
        return asked
    return max(("/tmp", "/var/tmp"), key=lambda path: shutil.disk_usage(path).free if Path(path).is_dir() else -1)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    if os.geteuid() == 0 and (reason := available()):
        sys.exit(f"demo: {reason}")
    sys.exit(main(sys.argv[1:]))
