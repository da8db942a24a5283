"""Quantities: what is read, what is refused, and the hint that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from specs.quantities import parse_cores, parse_duration, parse_pace, parse_share, parse_size
from specs.values import SpecError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0Mi", 0), ("1B", 1), ("1Ki", 1024), ("512Mi", 512 * 2**20), ("25Gi", 25 * 2**30), ("1.5Gi", 3 * 2**29),
        ("2Ti", 2**41), ("1Pi", 2**50), ("0.5Ki", 512), ("007Mi", 7 * 2**20),
    ],
)  # fmt: skip
def test_a_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7d", 604800), ("0s", 0)]
)
def test_a_time_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "pace"), [("20Mi", 20 * 2**20), ("4Ki", 4096), ("1.5Gi", 3 * 2**29)])
def test_a_pace_is_read_as_bytes_in_a_second(text: str, pace: int) -> None:
    assert parse_pace(text) == pace


def test_whole_seconds_are_whole_numbers() -> None:
    assert type(parse_duration("1.5h")) is int
    assert type(parse_duration("1.5s")) is float


@pytest.mark.parametrize(("text", "share"), [("0%", 0), ("20%", 0.2), ("12.5%", 0.125), ("100%", 1)])
def test_a_share_is_read_as_a_part_of_one(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(("cores", "thousandths"), [(1, 1000), (1.5, 1500), (0.001, 1), (0.1, 100), (64, 64000)])
def test_cores_are_read_as_thousandths(cores: float, thousandths: int) -> None:
    assert parse_cores(cores) == thousandths


WRONG: list[tuple[Callable[[Any], Any], object, str, str]] = [
    (parse_size, 512, "512 has no unit, and a size needs one", "write 512Mi or 512Gi"),
    (parse_size, 1.5, "1.5 has no unit, and a size needs one", "write 25Mi or 25Gi"),
    (parse_size, "512", "'512' has no unit, and a size needs one", "write 512Mi or 512Gi"),
    (parse_size, "25GB", "'GB' is not used: sizes are in powers of 1024", "write 25Gi"),
    (parse_size, "25gb", "'gb' is not used: sizes are in powers of 1024", "write 25Gi"),
    (parse_size, "25G", "'G' is not used: sizes are in powers of 1024", "write 25Gi"),
    (parse_size, "4k", "'k' is not used: sizes are in powers of 1024", "write 4Ki"),
    (parse_size, "25GiB", "'GiB' is not a unit of size", "write 25Gi"),
    (parse_size, "25gi", "'gi' is not a unit of size", "write 25Gi"),
    (parse_size, "25X", "'X' is not a unit of size", "units are Ki, Mi, Gi, Ti, Pi"),
    (parse_size, "0.3B", "'0.3B' is not a whole number of bytes", "write it in a smaller unit"),
    (parse_size, "-1Gi", "'-1Gi' is not a size", "write a number and a unit: 512Mi, 25Gi, 2Ti"),
    (parse_pace, "20Mi/s", "'20Mi/s' is not a size", "that it is in a second is understood: write 20Mi"),
    (parse_pace, "0Mi", "'0Mi' in a second would stop the machine", "write 4Ki or more, or nothing for no cap"),
    (parse_pace, "4095B", "'4095B' in a second would stop the machine", "write 4Ki or more, or nothing for no cap"),
    (parse_pace, 20, "20 has no unit, and a size needs one", "write 20Mi or 20Gi"),
    (parse_pace, "100iops", "'100iops' is not a size", "operations are not counted, bytes are: write 20Mi"),
    (parse_size, "much", "'much' is not a size", "write a number and a unit: 512Mi, 25Gi, 2Ti"),
    (parse_size, "1 Gi", "'1 Gi' is not a size", "write a number and a unit: 512Mi, 25Gi, 2Ti"),
    (parse_size, True, "a size is due here", "write 25Mi or 25Gi"),
    (parse_size, None, "a size is due here", "write 25Mi or 25Gi"),
    (parse_size, [], "a size is due here", "write 25Mi or 25Gi"),
    (parse_duration, 30, "30 has no unit, and a time needs one", "write 30s or 30m"),
    (parse_duration, "1h30m", "'1h30m' is not a time", "write a number and one unit of ms, s, m, h, d: 30s, 7d"),
    (parse_duration, "5min", "'5min' is not a time", "write a number and one unit of ms, s, m, h, d: 30s, 7d"),
    (parse_duration, False, "a time is due here", "write 30s or 30m"),
    (parse_share, 20, "20 has no unit, and a share needs one", "write 20%"),
    (parse_share, "120%", "'120%' is not a share", "write 0% to 100%"),
    (parse_share, "0.2", "'0.2' is not a share", "write 0% to 100%"),
    (parse_cores, "1.5", "'1.5' is not a number of cores", "write cores as a number: 1.5"),
    (parse_cores, 0, "0 is not a number of cores", "cores are above 0, in steps of 0.001"),
    (parse_cores, -1, "-1 is not a number of cores", "cores are above 0, in steps of 0.001"),
    (parse_cores, 0.0001, "0.0001 is not a number of cores", "cores are above 0, in steps of 0.001"),
    (parse_cores, float("inf"), "inf is not a number of cores", "cores are above 0, in steps of 0.001"),
    (parse_cores, float("nan"), "nan is not a number of cores", "cores are above 0, in steps of 0.001"),
    (parse_cores, True, "True is not a number of cores", "write cores as a number: 1.5"),
]


@pytest.mark.parametrize(("parse", "value", "summary", "fix"), WRONG)
def test_a_wrong_quantity_says_what_to_write(
    parse: Callable[[Any], Any], value: object, summary: str, fix: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(value)
    assert (caught.value.summary, caught.value.fix) == (summary, fix)
