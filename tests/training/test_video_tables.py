"""Tables of a codec of another frame order than any there is, made by the same code."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Latents
from nvc.codec.models import Tensors
from nvc.codec.table_names import gather
from nvc.codec.video_backend import Place, VideoBackend
from nvc.codec.video_model import VideoModel
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main
from nvc.entropy_models.main_context import MainContext
from nvc.entropy_models.main_context_fit import by_row, fit_rows, value_bits
from nvc.training import video_tables
from nvc.training.clips import Clip
from nvc.training.coded_frames import frames_of
from nvc.training.video_tables import REACH, Counts, count_levels, fit_contexts, tables


def backwards(backend: VideoBackend, clip: Clip, level: int) -> Iterator[Mapping[str, Latents]]:
    """The last frame, then the one before it."""
    first, last = frames_of(clip, 2)
    content, reference = backend.encode(last, Place(FrameType.I), level * 4096)
    yield content.latents
    yield backend.encode(first, Place(FrameType.P, [reference], [1]), level * 4096)[0].latents


@pytest.fixture(scope="module")
def backend(tiny_video_model: Path) -> VideoBackend:
    return VideoModel(tiny_video_model).backend


@pytest.mark.parametrize("of_each_level", [False, True])
def test_any_frame_order(backend: VideoBackend, clips: list[Clip], of_each_level: bool) -> None:
    contexts = fit_contexts(backend, clips[:2], backwards, 2)
    assert list(contexts) == video_tables.informations(backend) == ["intra", "motion", "residual"]
    counts = list(count_levels(backend, clips[:2], backwards, 2, contexts))
    assert len(counts) == 8
    made = tables(counts, contexts, of_each_level)
    for name in contexts:
        shapes = backend.shapes(name, 128, 192), backend.shapes(name, 96, 128)
        assert counts[0].main[name].sum() == sum(int(np.prod(shape.main)) for shape in shapes)
        assert counts[0].side[name].sum() == sum(int(np.prod(shape.side)) for shape in shapes)
        for level in (1, 8):
            whole = read(made, name, level)
            assert whole.context is not None
            assert whole.context.mix.tolist() == contexts[name].mix.tolist()
    assert len(made) == 3 * (3 + 8 * (4 + 4 + 1) if of_each_level else 4 + 4 + 8 * 4)


def read(made: Tensors, name: str, level: int) -> HyperpriorTables:
    tensors = {key.removeprefix("tables."): value for key, value in made.items()}
    return HyperpriorTables.from_tensors(gather(tensors, name, level, 8))


def test_tables_of_a_level_and_of_one_that_was_not_seen(backend: VideoBackend) -> None:
    """What a level does often is cheap with its own tables alone; one without counts has those of all levels."""
    contexts = {name: MainContext.neutral(backend.shapes(name, 16, 16).main[0]) for name in ("intra", "motion")}
    counts = [Counts(backend, contexts) for _ in range(8)]
    random = np.random.default_rng(4)
    for level, here in enumerate(counts[:7]):
        spread = 6 if level == 2 else 1
        values = np.rint(random.laplace(0, spread, 40000)).astype(int).clip(-REACH, REACH) + REACH
        here.main["motion"][30, 6] = np.bincount(values, minlength=2 * REACH + 1)
    made = tables(counts, contexts, of_each_level=True)
    found = [read(made, "motion", level) for level in range(1, 9)]
    cells = sum(here.main["motion"] for here in counts)
    row = fit_rows(cells)
    whole = fit_main(by_row(cells, row), -REACH)
    cost = value_bits(whole, REACH)[row[30, 6]]
    for level in (0, 2, 6):
        own, context = found[level], found[level].context
        assert context is not None
        seen = counts[level].main["motion"][30, 6]
        assert seen @ value_bits(own.main, REACH)[context.row[30, 6]] < (0.95 if level == 2 else 0.99) * (seen @ cost)
    unseen = found[7]
    assert unseen.context is not None
    np.testing.assert_array_equal(unseen.context.row, row)
    np.testing.assert_allclose(unseen.main.entropy, whole.entropy, rtol=0.02, atol=0.02)
    np.testing.assert_array_equal(unseen.main_candidates, found[0].main_candidates)


def test_values_beyond_reach_are_counted_as_the_last(backend: VideoBackend) -> None:
    shapes = backend.shapes("motion", 32, 32)
    z, symbols = np.zeros(shapes.side, np.int32), np.zeros(shapes.main, np.int32)
    z[0, 0, 0], symbols[0, 0, 0] = 30000, -30000
    index, mean = backend.parameters("motion", z, 0, shapes.main)
    counts = Counts(backend, {"motion": MainContext.neutral(shapes.main[0])})
    counts.add({"motion": Latents(z, symbols, index, mean)})
    assert counts.side["motion"][0, -1] == 1
    assert counts.main["motion"][..., 0].sum() == 1
