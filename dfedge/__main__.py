"""`dfedge` and `python -m dfedge`."""

import sys

from dfedge.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
