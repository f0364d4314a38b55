"""`dfedge` and `python -m dfedge`."""

import sys

from dfedge import __version__


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:] == ["--version"]:  # asked for by scripts on slow boards: before anything is loaded
        sys.stdout.write(f"dfedge {__version__}\n")
        return 0
    from dfedge.cli.app import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
