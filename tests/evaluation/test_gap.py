"""The gap: theoretical bits against the coder's, the limit against every table, and bytes against files."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nvc.codec.frame_bits import parse_frames
from nvc.codec.video_model import VideoModel, load
from nvc.errors import InputError
from nvc.evaluation import gap_report, gap_results
from nvc.evaluation.clips import Clip, Clips
from nvc.evaluation.gap import Bits, FrameGap, account
from nvc.evaluation.gap_results import FileGap, GapClips, gaps, whole_groups
from nvc.evaluation.rd import measure
from nvc.evaluation.video_codecs import NvcVideo

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clip(clips: Path) -> Clip:
    return Clips().read(clips / "a.y4m")


@pytest.fixture(scope="module")
def codec(tiny_video_model: Path) -> NvcVideo:
    return NvcVideo("ssf", intra=3, model=str(tiny_video_model))


@pytest.fixture(scope="module")
def data(clip: Clip, codec: NvcVideo) -> bytes:
    return codec.encode(clip, 5.5)


@pytest.fixture(scope="module")
def frames(data: bytes, codec: NvcVideo) -> list[FrameGap]:
    found = list(account(io.BytesIO(data), load(codec.model)))
    assert [frame.type for frame in found] == ["I", "P", "P"] * 2
    return found


def test_the_coder_takes_what_the_tables_say(frames: list[FrameGap]) -> None:
    for frame in frames:
        parts = [part.bits for part in frame.parts.values()]
        coded, coder = sum(bits.coded for bits in parts), sum(bits.coder + bits.said for bits in parts)
        assert coder == pytest.approx(coded, rel=1e-3)
        assert 31 <= 8 * frame.payload - coded < 64 + 1  # the stream's end


def test_no_table_beats_the_histogram(frames: list[FrameGap]) -> None:
    replaced = 0
    for frame in frames:
        for part in frame.parts.values():
            bits = part.bits
            assert bits.limit <= bits.coded - bits.said + 1e-3
            assert bits.limit <= bits.learned + 1e-3
            assert (bits.coded == bits.learned and bits.said == 0) == (part.plan is None)
            replaced += part.plan is not None and part.plan.replaced
    assert replaced > 0  # or this tests nothing


def test_the_limit_is_the_entropy_of_what_each_table_codes(
    data: bytes, frames: list[FrameGap], codec: NvcVideo
) -> None:
    """Counted in another way, for parts without escapes."""
    check_limits(data, frames, load(codec.model))


def test_symbols_that_have_contexts(tiny_context_model: Path) -> None:
    """What is counted are deviations, by the tables that their contexts choose."""
    data, model = (TESTS / "golden" / "contexts" / "replaced.nvc").read_bytes(), load(str(tiny_context_model))
    frames = list(account(io.BytesIO(data), model))
    assert [frame.type for frame in frames] == ["I", "P", "P"]
    test_the_coder_takes_what_the_tables_say(frames)
    test_no_table_beats_the_histogram(frames)
    check_limits(data, frames, model)


def check_limits(data: bytes, frames: list[FrameGap], model: VideoModel) -> None:
    checked = 0
    for parsed, frame in zip(parse_frames(io.BytesIO(data), model), frames, strict=True):
        for (name, half), part in frame.parts.items():
            latents = parsed.content.latents[name]
            z_rows = np.broadcast_to(np.arange(len(latents.z))[:, None, None], latents.z.shape)
            main = model.tables(name, parsed.level).main_values(latents.index, latents.symbols)
            values, rows = (latents.z, z_rows) if half == "side" else main
            tables = part.part.tables
            inside = (values >= tables.offset[rows]) & (values < tables.offset[rows] + tables.size[rows] - 1)
            if not inside.all():
                continue
            checked += 1
            pairs = Counter(zip(rows.ravel().tolist(), values.ravel().tolist(), strict=True))
            whole = Counter(rows.ravel().tolist())
            bits = sum(count * np.log2(whole[row] / count) for (row, _), count in pairs.items())
            assert part.bits.limit == pytest.approx(bits, abs=1e-3)
    assert checked >= len(frames)


def test_b_frames_have_motion_and_residuals_too() -> None:
    """By whatever names their codec has for them."""
    model = load(str(TESTS / "data" / "tiny_lhbdc.safetensors"), "lhbdc")
    found = list(account(io.BytesIO((TESTS / "golden" / "lhbdc" / "odd.nvc").read_bytes()), model))
    assert {frame.type for frame in found} == {"I", "P", "B"}
    for frame in found:
        names = ["residual"] if frame.type == "I" else ["motion", "residual"]
        assert list(frame.bits) == [(name, half) for name in names for half in ("side", "main")]
        assert sum(part.coded for part in frame.bits.values()) == sum(p.bits.coded for p in frame.parts.values())


def test_bytes_saved_are_those_of_two_files(clip: Clip, codec: NvcVideo, data: bytes, frames: list[FrameGap]) -> None:
    plain = NvcVideo("ssf", intra=3, reparam=0, model=codec.model).encode(clip, 5.5)
    assert len(plain) - len(data) == sum(frame.plain - frame.payload for frame in frames) > 0
    assert sum(frame.bytes for frame in frames) < len(data)


def test_files_are_summed_kept_and_resumed(clips: Path, codec: NvcVideo, tmp_path: Path) -> None:
    found = measure([codec], [clips], medium=GapClips(6), ladders={codec.name: [2, 6]})
    path = tmp_path / "gap.json"
    gap_results.write(found, path)
    files = gaps(found)
    assert [(file.picture, file.setting) for file in files] == [("a.y4m", 2), ("a.y4m", 6), ("b.y4m", 2), ("b.y4m", 6)]
    for file, again in zip(files, gaps(gap_results.read(path)), strict=True):
        assert (again.bytes, again.frames, again.saved) == (file.bytes, {"I": 2, "P": 4}, file.saved)
        assert again.total().coded == pytest.approx(file.total().coded, abs=0.1)
        assert set(file.parts) == {
            ("I", "residual", "side"), ("I", "residual", "main"), ("P", "motion", "side"), ("P", "motion", "main"),
            ("P", "residual", "side"), ("P", "residual", "main"),
        }  # fmt: skip
        kinds = sum(file.total(kind).learned for kind in ("I", "P"))
        assert file.total().learned == pytest.approx(kinds)
    started: list[int] = []
    measure(
        [codec], [clips], medium=GapClips(6), ladders={codec.name: [2, 6]}, resume=gap_results.read(path),
        start=started.append,
    )  # fmt: skip
    assert started == [0]
    path.write_text(path.read_text().replace('"bits"', '"bites"'))
    with pytest.raises(InputError, match="damaged"):
        gap_results.read(path)


@pytest.mark.parametrize(
    ("frames", "intra", "gop", "closed", "counted"),
    [
        (33, 16, 1, 0, 32),
        (30, 16, 1, 0, 16),
        (32, 16, 1, 0, 32),
        (5, 16, 1, 0, 5),
        (33, 16, 16, 0, 32),
        (32, 16, 16, 0, 16),
        (32, 16, 16, 1, 32),
        (34, 17, 16, 1, 34),
        (33, 17, 16, 1, 17),
        (7, 0, 1, 0, 7),
    ],
)
def test_whole_groups(frames: int, intra: int, gop: int, closed: int, counted: int) -> None:
    assert whole_groups(frames, NvcVideo("ssf", intra=intra, gop=gop, closed=closed)) == counted


def test_tables_of_known_numbers() -> None:
    parts = {
        ("I", "residual", "side"): Bits(100, 50, 75, 5, 70),
        ("I", "residual", "main"): Bits(900, 850, 900, 0, 900),
        ("P", "motion", "side"): Bits(200, 150, 220, 20, 200),
    }
    one = FileGap("a", "ssf", 1.0, {"I": 1, "P": 1}, 190, 10, 150, 0.1, parts)
    two = FileGap("b", "ssf", 1.0, {"I": 1}, 100, 0, 90, 0.2, {("I", "residual", "side"): Bits(100, 100, 100, 0, 100)})
    lines = gap_report.part_table([one, two]).splitlines()
    assert lines[2] == "| I | – | – | 25.0 / 12.5 (55.0) | 5.6 / 0.0 (90.0) | 5.0 / 1.2 (100.0) |"
    assert lines[3] == "| P | 25.0 / −10.0 (100.0) | – | – | – | 25.0 / −10.0 (100.0) |"
    assert lines[4].startswith("| video | 25.0 / −10.0 (16.7) | – | 25.0 / 12.5 (54.2) |")
    of_clips = gap_report.clip_table([one, two]).splitlines()
    assert of_clips[2].startswith("| a | 1 | 0.1000 | 190 | 12.50 | 0.42 | 3.3 | 5.00 | 149 | 150 | ")
    assert of_clips[4].startswith("| mean | 1 | 0.1500 | – | 6.25 | 0.21 | ")
    assert one.total(information="residual").gap == 10
