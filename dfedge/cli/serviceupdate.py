"""dfedge service update: the bytes of another version, from a file or from the agent's store, put on trial."""

import signal
import tempfile
from argparse import Namespace
from pathlib import Path

from dfedge.cli.field import image_label, rows, word
from dfedge.cli.output import Output
from dfedge.cli.progress import progress_of
from dfedge.cli.service import say_done
from dfedge.cli.serviceplace import judge_of, place_of
from dfedge.core.errors import Refused, UsageError
from dfedge.core.image.name import Ref
from dfedge.install.install import check_writable, update
from dfedge.install.place import Place
from dfedge.install.unit import python_of
from dfedge.node.client import Client


def run(args: Namespace, out: Output) -> int:
    """Take it, and change to it; the agent's own word for what it hands over is not taken."""
    place = place_of(args)
    check_writable(place)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that hangs up must not leave a trial unjudged
    try:
        with tempfile.TemporaryDirectory(prefix="dfedge-update-") as folder:
            file = Path(args.what)
            if "/" not in args.what and not file.is_file():
                file = _taken(_ref(args.what), place, Path(folder) / "dfedge.pyz", out)
            done = update(place, file, judge_of(place), expected=args.sha256 or "", python=python_of(place))
    finally:
        signal.signal(signal.SIGHUP, before)
    say_done(done, out, dry_run=False)
    return 0


def _ref(text: str) -> Ref:
    try:
        return Ref.parse(text)
    except ValueError as error:
        raise UsageError(f"service update: {text} is no file here, and no image either: {error}") from None


def _taken(ref: Ref, place: Place, target: Path, out: Output) -> Path:
    """Have the agent fetch the image and write its one file into a descriptor of ours."""
    with Client.connect(place.runtime) as agent:
        progress = progress_of(out, "get", str(ref))
        try:
            result = agent.call("get", {"ref": str(ref), "timeout": None, "one_file": True}, on_event=progress.update)
        finally:
            progress.close()
        if len(rows(result, "files")) != 1:
            raise Refused(f"{image_label(result)}: not an image of one file, so not a dfedge.pyz", f"dfedge get {ref}")
        with target.open("xb") as file:
            agent.call("output", {"image": word(result, "image"), "file": 0}, fds=[file.fileno()])
    return target
