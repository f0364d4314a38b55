"""Units: what people write is read as they mean it, and nonsense is said."""

import pytest

from dfedge.core.image.name import Ref
from dfedge.core.units import duration, line_rate, parse_duration, parse_rate, parse_size, size


@pytest.mark.parametrize(
    ("text", "value"), [("4096", 4096), ("10 GiB", 10 * 2**30), ("500MB", 500_000_000), ("1.5k", 1536)]
)
def test_sizes(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(("text", "value"), [("10 MB/s", 10_000_000), ("50 Mbit/s", 6_250_000), ("1 KiB/s", 1024)])
def test_rates(text: str, value: int) -> None:
    assert parse_rate(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("10m", 600), ("1h 30m", 5400), ("2d", 172_800), ("250ms", 0.25)]
)
def test_durations(text: str, value: float) -> None:
    assert parse_duration(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "10MBps", "-1", "ten", "10 XB", "10 MB/h", "5 parsecs"])
def test_nonsense_is_said_with_an_example(text: str) -> None:
    for parse in (parse_size, parse_rate, parse_duration):
        with pytest.raises(ValueError, match="as in"):
            parse(text)


def test_people_read_two_units_at_most() -> None:
    assert size(359_136_460) == "342.5 MiB"
    assert line_rate(5_125_000) == "41 Mbit/s"
    assert duration(7.44) == "7.4 s"
    assert duration(90_061) == "1 d 1 h"


@pytest.mark.parametrize("text", ["gateway", "gateway/os:2.4.1", "sha256:0123abcd"])
def test_references_are_read_and_written_alike(text: str) -> None:
    assert str(Ref.parse(text)) == text


@pytest.mark.parametrize("text", ["", "Gateway", "sha256:123", "sha256:XYZ12345", "a:", "a:b:c", "../x"])
def test_a_broken_reference_is_said(text: str) -> None:
    with pytest.raises(ValueError, match='"'):
        Ref.parse(text)
