"""Comparisons: means over pictures, mean curves, published means, and what the tables tell of them."""

import math
from statistics import fmean

import pytest

from nvc.errors import UsageError
from nvc.evaluation.bd_rate import bd_rate
from nvc.evaluation.compare import (
    as_dict,
    codec_names,
    compare,
    curve,
    mean_curve,
    percent,
    picture_table,
    summary_table,
)
from nvc.evaluation.results import MEAN, Row, read_compressai

SIZES, QUALITIES = (2_000, 4_000, 9_000, 20_000), (27.0, 30.0, 34.0, 39.0)


def rows_of(codec: str, picture: str, factor: float = 1.0, better: float = 0.0) -> list[Row]:
    return [
        Row(picture, codec, float(s), round(size * factor), psnr + better, 0.9 + s / 100, 0.5, 0.25, 256, 128)
        for s, (size, psnr) in enumerate(zip(SIZES, QUALITIES, strict=True), 1)
    ]


ROWS = [
    *rows_of("old", "a"), *rows_of("old", "b", 2.0, 3.0),
    *rows_of("new", "a", 0.9), *rows_of("new", "b", 1.4, 3.0),
]  # fmt: skip


def test_per_picture_then_the_mean() -> None:
    result = compare(ROWS, "old", "new")
    assert {p: round(bd.percent, 6) for p, bd in result.per_picture.items()} == {"a": -10.0, "b": -30.0}
    assert result.mean == pytest.approx(-20.0)
    assert (result.low, result.high, result.share) == (28.5, 40.5, 1.0)


def test_curves_are_bits_per_pixel_by_setting() -> None:
    assert curve(ROWS[::-1], "old", "a") == [
        (8 * size / 32768, psnr) for size, psnr in zip(SIZES, QUALITIES, strict=True)
    ]
    means = mean_curve(ROWS, "old", ["a", "b"])
    assert means[0] == (1.5 * 8 * 2000 / 32768, 28.5)
    assert compare(ROWS, "old", "new").of_means == bd_rate(means, mean_curve(ROWS, "new", ["a", "b"]))
    assert curve(ROWS, "old", "a", "ms-ssim")[0][1] == pytest.approx(-10 * math.log10(0.09))


def test_a_mean_curve_has_only_settings_that_all_pictures_have() -> None:
    rows = [row for row in ROWS if (row.codec, row.picture, row.setting) != ("old", "b", 2.0)]
    assert len(mean_curve(rows, "old", ["a", "b"])) == 3
    assert compare(rows, "old", "new").per_picture["b"].percent < 0


def test_pictures_that_only_one_codec_has_are_not_compared() -> None:
    rows = [*ROWS, *rows_of("new", "c")]
    assert list(compare(rows, "old", "new").per_picture) == ["a", "b"]
    assert compare(rows, "old", "new").of_means == compare(ROWS, "old", "new").of_means


def test_published_means_are_compared_with_the_mean_curve() -> None:
    """BMSHJ2018 hyperprior and factorized, the first points of the files that CompressAI publishes."""
    factorized = read_compressai(
        {"name": "factorized", "results": {"bpp": [0.1226, 0.1885, 0.2878], "psnr-rgb": [26.91, 28.22, 29.62]}}
    )
    hyperprior = read_compressai(
        {"name": "hyperprior", "results": {"bpp": [0.1313, 0.2089, 0.3199], "psnr-rgb": [27.58, 29.20, 30.97]}}
    )
    rows = [*factorized.rows.values(), *hyperprior.rows.values()]
    assert curve(rows, "factorized", MEAN) == [(0.1226, 26.91), (0.1885, 28.22), (0.2878, 29.62)]
    result = compare(rows, "factorized", "hyperprior")
    assert result.per_picture == {}
    assert math.isnan(result.mean)
    assert -25 < result.of_means.percent < -5
    mixed = compare([*rows, *ROWS], "old", "hyperprior")
    assert mixed.of_means == bd_rate(mean_curve(ROWS, "old", ["a", "b"]), curve(rows, "hyperprior", MEAN))
    assert "| hyperprior | – | " in summary_table(rows, "factorized", ["factorized", "hyperprior"])
    assert "mean only" in summary_table(rows, "factorized", ["factorized", "hyperprior"])


def test_the_summary_says_what_was_compared() -> None:
    table = summary_table(ROWS, "old", codec_names(ROWS))
    head, _, anchor, new = table.splitlines()
    assert head.startswith("| codec | BD-rate against old")
    assert anchor.startswith("| old | 0 | 0 | 2 |")
    cells = [cell.strip() for cell in new.strip("|").split("|")]
    assert [cells[0], cells[1], *cells[3:]] == [
        "new",
        "−20.00 %",
        "2",
        "28.5–40.5",
        "100 %",
        "0.439–6.836",
        "0.500",
        "0.250",
    ]
    assert cells[2] == percent(compare(ROWS, "old", "new").of_means.percent)


def test_the_summary_tells_of_pictures_and_points_left_out() -> None:
    far = [row for row in ROWS if (row.codec, row.picture) != ("new", "b")] + rows_of("new", "b", 1.0, 60.0)
    spoiled = [*far, Row("a", "new", 9.0, 20_000, 20.0, None, 0.1, 0.1, 256, 128)]
    table = summary_table(spoiled, "old", ["old", "new"])
    assert "| 1 of 2 |" in table
    assert "- new: b is not compared, no common range: anchor 30.00..42.00 dB, test 87.00..99.00 dB" in table
    assert "- new and old: 1 dominated points left out" in table
    assert picture_table(spoiled, "old", ["old", "new"]).splitlines()[2:] == ["| a | −10.00 % |", "| b | – |"]


def test_as_dict_is_strict_json() -> None:
    import json

    none = compare([*rows_of("old", "a"), *rows_of("new", "a", 1.0, 60.0)], "old", "new")
    assert json.loads(json.dumps(as_dict(none), allow_nan=False))["percent"] is None
    assert as_dict(compare(ROWS, "old", "new"))["percent"] == fmean(
        bd.percent for bd in compare(ROWS, "old", "new").per_picture.values()
    )


def test_unknown_codecs_are_named() -> None:
    with pytest.raises(UsageError, match="no rows of codec 'newer': there are new, old"):
        compare(ROWS, "old", "newer")
