"""Tables of a codec of another frame order than any there is, made by the same code."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Latents
from nvc.codec.video_backend import Place, VideoBackend
from nvc.codec.video_model import VideoModel
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.main_context import MainContext
from nvc.training import video_tables
from nvc.training.clips import Clip
from nvc.training.coded_frames import frames_of
from nvc.training.video_tables import Counts, count_levels, fit_contexts, tables


def backwards(backend: VideoBackend, clip: Clip, level: int) -> Iterator[Mapping[str, Latents]]:
    """The last frame, then the one before it."""
    first, last = frames_of(clip, 2)
    content, reference = backend.encode(last, Place(FrameType.I), level * 4096)
    yield content.latents
    yield backend.encode(first, Place(FrameType.P, [reference], [1]), level * 4096)[0].latents


@pytest.fixture(scope="module")
def backend(tiny_video_model: Path) -> VideoBackend:
    return VideoModel(tiny_video_model).backend


def test_any_frame_order(backend: VideoBackend, clips: list[Clip]) -> None:
    contexts = fit_contexts(backend, clips[:2], backwards, 2)
    assert list(contexts) == video_tables.informations(backend) == ["intra", "motion", "residual"]
    counts = list(count_levels(backend, clips[:2], backwards, 2, contexts))
    assert len(counts) == 8
    made = tables(counts, contexts)
    for name in contexts:
        shapes = backend.shapes(name, 128, 192), backend.shapes(name, 96, 128)
        assert counts[0].main[name].sum() == sum(int(np.prod(shape.main)) for shape in shapes)
        assert counts[0].side[name].sum() == sum(int(np.prod(shape.side)) for shape in shapes)
        for level in (1, 8):
            prefixes = {"side": f"tables.{name}.{level}.side.", "main": f"tables.{name}.main."}
            prefixes |= {"context": f"tables.{name}.context."}
            found = {
                f"{part}.{key.removeprefix(prefix)}": value
                for part, prefix in prefixes.items() for key, value in made.items() if key.startswith(prefix)
            }  # fmt: skip
            whole = HyperpriorTables.from_tensors(found)
            assert whole.context is not None
            assert whole.context.mix.tolist() == contexts[name].mix.tolist()
    assert len(made) == 3 * (4 + 4 + 8 * 4)


def test_values_beyond_reach_are_counted_as_the_last(backend: VideoBackend) -> None:
    shapes = backend.shapes("motion", 32, 32)
    z, symbols = np.zeros(shapes.side, np.int32), np.zeros(shapes.main, np.int32)
    z[0, 0, 0], symbols[0, 0, 0] = 30000, -30000
    index, mean = backend.parameters("motion", z, 0, shapes.main)
    counts = Counts(backend, {"motion": MainContext.neutral(shapes.main[0])})
    counts.add({"motion": Latents(z, symbols, index, mean)})
    assert counts.side["motion"][0, -1] == 1
    assert counts.main["motion"][..., 0].sum() == 1
