"""One command from its words to its exit code: 0 done, 1 failed, 2 wrong usage, 130 and 143 on a signal."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from dfedge.cli.output import Output
from dfedge.core.errors import DfedgeError, NoSpace, Refused, UsageError


class Terminated(BaseException):
    """SIGTERM arrived; it travels like KeyboardInterrupt, so that whatever is open is closed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    out = Output(json="--json" in words, quiet="-q" in words or "--quiet" in words)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(words, out)
    except DfedgeError as error:
        _debug()
        out.error(error)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        out.stopped("interrupted")
        return 130
    except Terminated:
        out.stopped("terminated")
        return 143
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        _debug()
        out.error(_told(error))
        return 1
    except Exception as error:
        _debug()
        out.error(Refused(f"internal error: {type(error).__name__}: {error}", f"DFEDGE_DEBUG=1 dfedge {words[0]} …"))
        return 1


def _run(words: list[str], out: Output) -> int:
    from dfedge.cli.parser import main_help, parse

    if not words or words[0] in ("-h", "--help", "help"):
        out.print(main_help())
        return 0 if words else 2
    args = parse(words)
    out.verbose = args.verbose
    if args.verbose and args.command != "agent":
        import logging

        from dfedge.cli.agent import start_log

        start_log(out.stderr, logging.INFO if args.verbose == 1 else logging.DEBUG)
    code: int = args.run(args, out)
    out.flush()
    return code


def _told(error: OSError) -> DfedgeError:
    subject = f"{error.filename}: " if error.filename else ""
    text = f"{subject}{(error.strerror or str(error) or type(error).__name__).lower()}"
    return NoSpace(text) if error.errno in (errno.ENOSPC, errno.EDQUOT) else Refused(text)


def _debug() -> None:
    """Let the traceback through where somebody debugs."""
    if os.environ.get("DFEDGE_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated
