"""`__main__` of dfedge.pyz. An old Python must be able to read this far, so it is written for any Python 3."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write(  # type: ignore[unreachable]
        "dfedge: this is Python %d.%d at %s, dfedge needs 3.11 or newer [refused]\n"  # noqa: UP031
        "  try: apt-get install python3 on Debian 12 or newer, or python3.11 dfedge.pyz\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
    sys.exit(1)

from onefile.boot.start import main

sys.exit(main())
