"""Measuring: rows are what the files say, results can be resumed, and only what still holds is used again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc.errors import BadStream, InputError, UsageError
from nvc.evaluation import results
from nvc.evaluation.anchors import Jpeg, Webp
from nvc.evaluation.metrics import UInt8Array, ms_ssim, psnr
from nvc.evaluation.rd import Pictures, digest, fingerprints, measure
from nvc.evaluation.results import Results, Row
from nvc.evaluation.sources import probe

LADDERS = {"jpeg": (20, 50, 80), "webp": (10, 60)}


class Counter:
    """Remembers what `measure` announced and did."""

    def __init__(self) -> None:
        self.done = self.total = 0

    def start(self, total: int) -> None:
        self.total = total

    def advance(self) -> None:
        self.done += 1


def timeless(found: Results) -> dict[tuple[str, str, float], Row]:
    return {key: dataclasses.replace(row, encode_s=0.0, decode_s=0.0) for key, row in found.rows.items()}


def test_a_row_is_what_the_file_is(photos: Path) -> None:
    found = measure([Jpeg()], [photos], ladders={"jpeg": [40]})
    assert list(found.rows) == [("a.png", "jpeg", 40.0), ("b.png", "jpeg", 40.0)]
    for name in ("a.png", "b.png"):
        pixels = np.array(Image.open(photos / name))
        data = Jpeg().encode(pixels, 40)
        row = found.rows[name, "jpeg", 40.0]
        assert (row.width, row.height, row.bytes) == (pixels.shape[1], pixels.shape[0], len(data))
        assert row.bpp == 8 * len(data) / (row.width * row.height)
        assert row.psnr == psnr(pixels, Jpeg().decode(data))
        assert row.ms_ssim == pytest.approx(ms_ssim(pixels, Jpeg().decode(data)), abs=1e-6)
        assert row.encode_s > 0
        assert row.decode_s > 0
        assert found.pictures[name]["digest"] == digest(pixels)


def test_written_results_read_back(photos: Path, tmp_path: Path) -> None:
    found = measure([Jpeg(), Webp()], [photos], ladders=LADDERS)
    found.commands.append("nvc-eval rd …")
    path = tmp_path / "rd.json"
    results.write(found, path)
    assert [p.name for p in tmp_path.iterdir()] == ["rd.json"]
    again = results.read(path)
    assert (again.commands, again.codecs, again.pictures) == (found.commands, found.codecs, found.pictures)
    assert set(again.rows) == set(found.rows)
    for key, row in found.rows.items():
        assert again.rows[key].bytes == row.bytes
        assert again.rows[key].psnr == pytest.approx(row.psnr, abs=5e-5)
    first = path.read_bytes()
    results.write(again, path)
    assert path.read_bytes() == first
    json.loads(first, parse_constant=pytest.fail)  # strict JSON: no NaN, no Infinity
    assert len(first.splitlines()) == len(found.rows) + 7  # one row a line: differences can be read


def test_resume_measures_only_what_is_missing(photos: Path, tmp_path: Path) -> None:
    whole = measure([Jpeg(), Webp()], [photos], ladders=LADDERS)
    path = tmp_path / "rd.json"

    class Stop(Exception):
        pass

    def save_once(found: Results) -> None:
        results.write(found, path)
        raise Stop

    with pytest.raises(Stop):
        measure([Jpeg(), Webp()], [photos], ladders=LADDERS, save=save_once)
    partly = results.read(path)
    assert 0 < len(partly.rows) < len(whole.rows)
    had, seen = len(partly.rows), Counter()
    resumed = measure(
        [Jpeg(), Webp()], [photos], ladders=LADDERS, resume=partly, start=seen.start, advance=seen.advance
    )
    assert seen.total == seen.done == len(whole.rows) - had
    results.write(resumed, path)
    results.write(whole, tmp_path / "whole.json")
    assert timeless(results.read(path)) == timeless(results.read(tmp_path / "whole.json"))

    seen = Counter()
    more = measure(
        [Jpeg()], [photos], ladders={"jpeg": (20, 50, 80, 90)}, resume=resumed, start=seen.start, advance=seen.advance
    )
    assert seen.total == 2  # one new setting on two pictures
    assert len(more.rows) == len(whole.rows) + 2  # webp's rows are kept


def test_a_changed_picture_is_measured_anew(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes((photos / name).read_bytes())
    before = timeless(known := measure([Jpeg()], [folder], ladders=LADDERS))
    Image.open(folder / "a.png").rotate(180).save(folder / "a.png")
    seen = Counter()
    after = timeless(measure([Jpeg()], [folder], ladders=LADDERS, resume=known, start=seen.start, advance=seen.advance))
    assert seen.total == 3
    assert all((before[key] == after[key]) == (key[0] == "b.png") for key in before)


@dataclasses.dataclass(frozen=True)
class Retrained(Jpeg):
    """A codec of the same name that codes otherwise: what a retrained model is."""

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        return super().encode(picture, min(setting + 3, 100) if setting > 30 else setting)


def test_a_changed_codec_is_measured_anew_where_it_changed(photos: Path) -> None:
    before = timeless(known := measure([Jpeg()], [photos], ladders={"jpeg": (20, 50, 80)}))
    seen = Counter()
    found = measure(
        [Retrained()], [photos], ladders={"jpeg": (20, 50)}, resume=known, start=seen.start, advance=seen.advance
    )
    after = timeless(found)
    assert seen.total == 2
    assert ("a.png", "jpeg", 80.0) not in after  # not asked for again, but it does not hold any more
    assert before["a.png", "jpeg", 20.0] == after["a.png", "jpeg", 20.0]
    assert before["a.png", "jpeg", 50.0].bytes < after["a.png", "jpeg", 50.0].bytes


def test_processes_give_the_same_rows(photos: Path) -> None:
    one = measure([Jpeg(), Webp()], [photos], ladders=LADDERS, with_ms_ssim=False)
    two = measure([Jpeg(), Webp()], [photos], ladders=LADDERS, with_ms_ssim=False, jobs=2)
    assert timeless(one) == timeless(two)


def test_ms_ssim_is_left_out_of_small_pictures_and_on_request(photos: Path, tmp_path: Path) -> None:
    Image.open(photos / "a.png").crop((0, 0, 170, 100)).save(tmp_path / "small.png")
    found = measure([Jpeg()], [tmp_path / "small.png"], ladders={"jpeg": [50]})
    assert [row.ms_ssim for row in found.rows.values()] == [None]
    seen = Counter()
    measure(
        [Jpeg()], [tmp_path / "small.png"], ladders={"jpeg": [50]}, resume=found, start=seen.start, advance=seen.advance
    )
    assert seen.total == 0
    without = measure([Jpeg()], [photos / "a.png"], ladders={"jpeg": [50]}, with_ms_ssim=False)
    assert [row.ms_ssim for row in without.rows.values()] == [None]
    measure(
        [Jpeg()], [photos / "a.png"], ladders={"jpeg": [50]}, resume=without, start=seen.start, advance=seen.advance
    )
    assert seen.total == 1  # asked for now


class Cropping(Jpeg):
    def decode(self, data: bytes) -> UInt8Array:
        return super().decode(data)[1:]


def test_a_picture_of_another_size_is_an_error(photos: Path) -> None:
    with pytest.raises(BadStream, match=r"a\.png: jpeg made"):
        measure([Cropping()], [photos], ladders={"jpeg": [50]})


def test_finding_pictures(photos: Path, tmp_path: Path) -> None:
    assert [path.name for path in Pictures().find([photos])] == ["a.png", "b.png"]
    with pytest.raises(InputError, match="no pictures"):
        Pictures().find([tmp_path])
    (tmp_path / "a.png").write_bytes((photos / "a.png").read_bytes())
    with pytest.raises(UsageError, match="by file name"):
        Pictures().find([photos, tmp_path / "a.png"])


def test_wrong_ladders_are_refused(photos: Path) -> None:
    for ladder in ((), (50, 50)):
        with pytest.raises(UsageError, match="ladder"):
            measure([Jpeg()], [photos], ladders={"jpeg": ladder})
    with pytest.raises(UsageError, match="twice"):
        measure([Jpeg(), Jpeg()], [photos])


def test_fingerprints_tell_settings_and_codecs_apart() -> None:
    assert probe().shape == (64, 96, 3)
    assert digest(probe()) == "6fe10e52487f3d9b"
    found, model = fingerprints(Jpeg(), (20, 80))
    assert list(found) == ["20", "80"]
    assert len(set(found.values()) | set(fingerprints(Retrained(), (20, 80))[0].values())) == 3
    assert model == ""


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "nvc-rd 2"}', '{"format": "nvc-rd 1"}', '{"format": "nvc-rd 1", "codecs": 3}'],
)
def test_files_that_are_no_results_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        results.read(path)
