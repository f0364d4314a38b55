"""`python scripts/faults ROW…`: inject what the row names into real agents and print what became of them."""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")]


def main(names: list[str]) -> int:
    """Measure the rows named; 1 if one does not hold."""
    from faults import fakes, malformed, network, revoked, storm
    from faults.row import Measure

    rows: dict[str, Measure] = {
        "malformed": malformed.measure,
        "storm": storm.measure,
        "fakes": fakes.measure,
        "revoked": revoked.measure,
        **{name: network.measure(name) for name in network.FAULTS},
    }
    if not names or not set(names) <= set(rows):
        print(f"usage: python scripts/faults ROW…\nrows: {', '.join(rows)}")
        return 2
    broken = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="dff.") as folder:
            row = rows[name](Path(folder))
        print(f"{name}\n{row}\n", flush=True)
        broken += not row.holds
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
