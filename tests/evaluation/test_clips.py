"""Clips under measurement: rows are what files and decoded frames say, anchors are coded as their names claim."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import av
import numpy as np
import pytest

from nvc.errors import BadStream, InputError, UsageError
from nvc.evaluation import results
from nvc.evaluation.clips import EQUAL, Clip, Clips, planes_psnr
from nvc.evaluation.codecs import parse
from nvc.evaluation.metrics import psnr
from nvc.evaluation.rd import measure
from nvc.evaluation.video_anchors import X264, X265
from nvc.evaluation.video_codecs import NvcVideo
from nvc.frames import Frame420


@pytest.fixture(scope="module")
def clip(clips: Path) -> Clip:
    return Clips().read(clips / "a.y4m")


def types_of(codec: X264 | X265, data: bytes) -> str:
    """Types of the decoded frames in display order."""
    context = cast(Any, av.CodecContext.create(codec.decoder, "r"))
    packets = (*context.parse(data), *context.parse(None), None)
    return "".join("?IPB"[int(frame.pict_type)] for packet in packets for frame in context.decode(packet))


def test_a_row_is_what_the_file_is(clips: Path, clip: Clip, tiny_video_model: Path) -> None:
    codec = NvcVideo("ssf", model=str(tiny_video_model))
    found = measure([codec], [clips], medium=Clips(), ladders={codec.name: [3]})
    assert [key[0] for key in found.rows] == ["a.y4m", "b.y4m"]
    row = found.rows["a.y4m", codec.name, 3.0]
    data = codec.encode(clip, 3.0)
    decoded = codec.decode(data)
    assert (row.bytes, row.frames, row.fps, row.width, row.height) == (len(data), 6, 25, 96, 64)
    assert row.bpp == 8 * len(data) / (96 * 64 * 6)
    assert row.kbits == pytest.approx(8 * len(data) / (6 / 25) / 1000)
    pairs = list(zip(clip.frames, decoded, strict=True))
    assert row.psnr == pytest.approx(fmean(psnr(clip.to_rgb(a), clip.to_rgb(b)) for a, b in pairs))
    planes = [fmean(psnr(a.planes[i], b.planes[i]) for a, b in pairs) for i in range(3)]
    assert row.yuv_psnr == pytest.approx((6 * planes[0] + planes[1] + planes[2]) / 8)
    assert found.codecs[codec.name]["model"] == codec.model_id(data)
    assert found.pictures["a.y4m"] == Clips().about(clip)


def test_results_of_clips_read_back(clips: Path, tmp_path: Path) -> None:
    found = measure([X264()], [clips], medium=Clips(4), ladders={"x264": [20, 40]})
    results.write(found, tmp_path / "rd.json")
    again = results.read(tmp_path / "rd.json")
    for key, row in found.rows.items():
        other = again.rows[key]
        assert (other.bpp, other.kbits, other.fps) == (row.bpp, row.kbits, Fraction(25))
        assert other.yuv_psnr == pytest.approx(row.yuv_psnr, abs=1e-4)
    # the same clip with more frames is another one
    more = measure([X264()], [clips], medium=Clips(5), ladders={"x264": [20]}, resume=again)
    assert {(key[2], row.frames) for key, row in more.rows.items()} == {(20.0, 5)}


def test_files_of_pictures_have_no_column_of_clips(tmp_path: Path) -> None:
    old = (
        '{"format": "nvc-rd 1", "commands": [], "codecs": {"jpeg": {}}, "pictures": {"a": {"width": 2, "height": 3}}, '
        '"columns": ["picture", "codec", "setting", "bytes", "psnr", "ms_ssim", "encode_s", "decode_s"], '
        '"rows": [["a", "jpeg", 5, 60, 30.5, null, 1, 1]]}'
    )
    (tmp_path / "old.json").write_text(old)
    found = results.read(tmp_path / "old.json")
    row = found.rows["a", "jpeg", 5.0]
    results.write(found, tmp_path / "new.json")
    assert "yuv_psnr" not in (tmp_path / "new.json").read_text()
    assert (row.bpp, row.frames, row.fps) == (80, 1, None)
    assert np.isnan(row.kbits)
    assert np.isnan(row.quality("yuv-psnr"))


@pytest.mark.parametrize("codec", [X264(intra=2), X265(intra=2), X264(intra=3, latency="normal")], ids=str)
def test_the_intra_period_is_what_is_asked_for(codec: X264 | X265, clips: Path) -> None:
    for name in ("a.y4m", "b.y4m"):  # b has a scene cut, which must not count
        types = types_of(codec, codec.encode(Clips().read(clips / name), 30))
        assert [place for place, kind in enumerate(types) if kind == "I"] == list(range(0, 6, codec.intra))


@pytest.mark.parametrize("kind", [X264, X265])
def test_zero_latency_has_no_b_frames_and_normal_has(kind: type[X264 | X265], clip: Clip) -> None:
    assert types_of(kind(), kind().encode(clip, 30)) == "IPPPPP"
    assert "B" in types_of(kind(), kind(latency="normal").encode(clip, 30))


def test_a_scene_cut_is_the_encoders_own_business_without_a_period(clips: Path) -> None:
    cut = Clips().read(clips / "b.y4m")
    codec = X264(intra=0)
    assert types_of(codec, codec.encode(cut, 30))[5] == "I"


@pytest.mark.parametrize("codec", [X264(), X265()], ids=str)
def test_anchors_count_no_notes_and_give_frames_back(codec: X264 | X265, clip: Clip) -> None:
    fine, coarse = codec.encode(clip, 10), codec.encode(clip, 40)
    assert len(fine) > 2 * len(coarse)
    assert codec.base.encode() not in fine
    assert b"options" not in fine
    quality = [
        fmean(planes_psnr(*pair) for pair in zip(clip.frames, codec.decode(d), strict=True)) for d in (fine, coarse)
    ]
    assert 25 < quality[1] < quality[0] - 6
    assert codec.encode(clip, 10) == fine
    assert len(dataclasses.replace(codec, psy=0).encode(clip, 30)) != len(codec.encode(clip, 30))


def test_all_intra_costs_more_and_is_the_same_codec(clips: Path, tiny_video_model: Path) -> None:
    still = Clips().read(clips / "a.y4m")
    same = Clip([still.frames[0]] * 4, still.times[:4], still.info)
    inter, intra = (NvcVideo("ssf", intra=period, model=str(tiny_video_model)) for period in (32, 1))
    assert len(inter.encode(same, 4.0)) < 0.6 * len(intra.encode(same, 4.0))
    decoded = intra.decode(intra.encode(same, 4.0))
    assert all(np.array_equal(frame.y, decoded[0].y) for frame in decoded)


def test_equal_frames_have_a_finite_psnr() -> None:
    frame = Frame420(np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert planes_psnr(frame, frame) == EQUAL


def test_frames_that_are_lost_are_noticed(clip: Clip) -> None:
    class Lossy(X264):
        def decode(self, data: bytes) -> list[Frame420]:
            return super().decode(data)[1:]

    with pytest.raises(BadStream, match="5 frames"):
        Clips().measure("a", clip, Lossy(), 30)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ssf:intra=-1", "intra period"),
        ("ssf:gop=3", "GOP of 3"),
        ("ssf:reparam=2", "reparam is 0 or 1"),
        ("ssf:closed=2", "closed is 0 or 1"),
        ("aivc:blocks=2", "blocks is 0 or 1"),
        ("lhbdc:gop=16,intra=17", "17 frames is no multiple of the GOP of 16"),
        ("ssf:rdoq=2", "ssf takes intra=…, gop=…, fixed=…, closed=…, reparam=…, blocks=…, model=…"),
        ("x264:latency=low", "latency is one of zero, normal"),
        ("x265:threads=0", "threads at least 1"),
        ("x264:intra=many", "intra is a whole number"),
    ],
)
def test_options_that_make_no_sense(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(spec)


def test_names_tell_the_options() -> None:
    for spec in ("ssf", "ssf:intra=1", "lhbdc:intra=17,gop=16,closed=1", "x264:latency=normal,intra=0", "x265:psy=0"):
        assert parse(spec).name == spec
        assert parse(spec).medium == "video"


def test_what_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"no clip")
    with pytest.raises(InputError, match=r"a\.mkv"):
        measure([X264()], [tmp_path], medium=Clips())
    with pytest.raises(UsageError, match=r"0\.\.51"):
        X264().encode(Clips().probe(), 52)
