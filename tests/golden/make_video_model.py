"""Makes tests/data/tiny_video.safetensors: `python tests/golden/make_video_model.py` from the repository.

A tiny model of the codec ssf that nobody trained: its linear path is the KLT of the test photographs (motion: the Haar
transform), its networks are small and from a fixed generator, its tables are the histograms of clips made by moving a
window over a photograph. Long tables are cut off, which keeps the file small and makes values escape.

Run it only where the format of weight files or the numbers in it change while its number is 0: the golden streams are
made with it. Not the same bytes on every machine: torch's float sums are in it.
"""

import json
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nvc.codec import borrowing
from nvc.codec.models import Tensors, model_id
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main, fit_side
from nvc.entropy_models.main_context import MainContext
from nvc.entropy_models.main_context_fit import by_row
from nvc.frames import Frame420
from nvc.networks.hyperprior import LOG_STEP
from nvc.networks.intra import BLOCK, TransformConfig, TransformNet
from nvc.networks.motion_search import estimate
from nvc.networks.planes import PLANES, pad_planes
from nvc.networks.ssf import MotionConfig, MotionNet, SsfConfig, SsfNet
from nvc.networks.video_analysis import VideoAnalysis, encoder_tensors
from nvc.training import video_tables
from nvc.training.clips import Clip
from nvc.training.coded_frames import coded_frames
from nvc.training.quantize_video import decoder_tensors, ranges_of
from nvc.training.video_task import VideoTask

DATA = Path(__file__).resolve().parents[1] / "data"
OUTPUT = DATA / "tiny_video.safetensors"
CONFIG = SsfConfig(
    intra=TransformConfig(20, (4, 6), (6, 4), 4, 8),
    motion=MotionConfig(8, 8, 8, 4, 8),
    residual=TransformConfig(8, (4, 6), (6, 4), 4, 8, seen=PLANES),
)
FRAMES = 4
MAIN_REACH, SIDE_REACH = 40, 8  # largest values in a table; what is beyond escapes
CANDIDATES = 4, 24
CLIPS = ("sign", 128, 192, (2, 5)), ("stair", 96, 128, (1, 0)), ("sign", 160, 160, (3, 3))
CODED = partial(coded_frames, frames=FRAMES)


def frame_of(pixels: NDArray[np.uint8]) -> Frame420:
    """RGB of even sides to planes, roughly as BT.601."""
    r, g, b = pixels.astype(np.float64).transpose(2, 0, 1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = [128 + (b - y) * 0.564, 128 + (r - y) * 0.713]
    small = [plane.reshape(len(y) // 2, 2, -1, 2).mean((1, 3)) for plane in chroma]
    return Frame420(*(np.rint(plane).clip(0, 255).astype(np.uint8) for plane in (y, *small)))


def clip_of(name: str, height: int, width: int, motion: tuple[int, int], count: int = FRAMES) -> Clip:
    """A window that moves by so many rows and columns a frame."""
    pixels = np.asarray(Image.open(DATA / f"{name}.png").convert("RGB"))
    down, right = motion
    frames = [
        frame_of(pixels[down * i : down * i + height, right * i : right * i + width]) for i in range(count)
    ]  # fmt: skip
    flows = [estimate(after, before) for before, after in pairwise(frames)]
    vectors = np.rint(np.array([flows, flows]) * 16).astype(np.int16)
    return Clip(np.stack([pad_planes(frame).transpose(2, 0, 1) for frame in frames]), vectors)


def blocks_of(planes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(6, 8h, 8w) -> (h·w, 6·8·8)."""
    h, w = (side // BLOCK for side in planes.shape[1:])
    return planes.reshape(PLANES, h, BLOCK, w, BLOCK).transpose(1, 3, 0, 2, 4).reshape(h * w, -1)


def start_transform(net: TransformNet, blocks: NDArray[np.float64]) -> None:
    """Linear path = the first vectors of the KLT of these blocks."""
    values, vectors = np.linalg.eigh(blocks.T @ blocks / len(blocks))
    latents = net.config.latents
    basis = vectors[:, ::-1][:, :latents].T.reshape(latents, PLANES, BLOCK, BLOCK)
    deviation = np.sqrt(values[::-1][:latents])
    net.start_from_klt(torch.from_numpy(basis.copy()).float(), torch.from_numpy(deviation.copy()).float())
    enliven(net)


@torch.no_grad()
def enliven(net: TransformNet | MotionNet) -> None:
    """Random networks beside the linear path: some per cent of it; hyperprior: some symbols, some scale indexes."""
    for stack, size in ((net.g_a, 0.05), (net.g_s, 0.02)):
        stack[-1].weight.normal_(0, size / stack[-1].weight[0].numel() ** 0.5)  # type: ignore[index, operator, union-attr]
    hyper = net.coder.hyper
    hyper.h_a[-1].weight.mul_(25)  # type: ignore[operator]
    h_s = hyper.h_s[-1].weight  # type: ignore[union-attr]
    means = hyper.config.latents
    h_s[:, :means].normal_(0, 0.06)  # type: ignore[index, operator]
    h_s[:, means:].normal_(0, 0.1 / LOG_STEP / 4)  # type: ignore[index, operator]


def differences(clips: list[Clip]) -> NDArray[np.float64]:
    """Blocks of frames less the frame before."""
    return np.concatenate([blocks_of((b.astype(float) - a) / 255) for clip in clips for a, b in pairwise(clip.planes)])


def start(net: SsfNet, clips: list[Clip]) -> None:
    """The networks of I and P frames."""
    still = np.concatenate([blocks_of(plane / 255 - 0.5) for clip in clips for plane in clip.planes])
    start_transform(net.intra, still)
    start_transform(net.residual, differences(clips))
    net.motion.start_from_haar()
    with torch.no_grad():
        net.motion.l_s.bias[8:] = 0.4  # type: ignore[index]
    enliven(net.motion)


def make_net(clips: list[Clip]) -> SsfNet:
    """The float networks."""
    torch.manual_seed(2026)
    net = SsfNet(CONFIG).eval()
    start(net, clips)
    return net.requires_grad_(False)


def cut(tables: TableSet, reach: int) -> TableSet:
    """Tables without the values beyond ±reach; the frequencies of those go to the escape."""
    rows, offsets = [], []
    for i in range(len(tables)):
        first, row = int(tables.offset[i]), tables.row(i)
        low, high = max(first, -reach), min(first + len(row) - 3, reach)
        counts = np.diff(row[low - first : high - first + 2].astype(np.int64))
        rows.append(np.append(counts, 65536 - counts.sum()))
        offsets.append(low)
    return TableSet.from_histograms(rows, offsets)


def tables_of(counts: list[video_tables.Counts], contexts: dict[str, MainContext], kept: bool) -> Tensors:
    """As video_tables.tables, but cut, and with the rows as they are. kept: whether the contexts are in the file."""
    tensors: Tensors = {}
    reach = video_tables.REACH
    for name, context in contexts.items():
        cells = np.sum([level.main[name] for level in counts], axis=0)
        main = cut(fit_main(by_row(cells, context.row), -reach), MAIN_REACH)
        for level, here in enumerate(counts, 1):
            side = cut(fit_side(here.side[name], -reach), SIDE_REACH)
            found = HyperpriorTables.with_candidates(side, main, *CANDIDATES, context if kept else None)
            tensors |= video_tables.placed(name, level, found, shared=True)
    return tensors


def save(output: Path, task: VideoTask, clips: list[Clip], coded: video_tables.Coded, name: str) -> None:
    """The weight file of a task's networks, without contexts; equal tensors are stored once."""
    net, kind = task.net, task.backend()
    decoder = decoder_tensors(net, kind.kinds, ranges_of(net, task.seen(clips)), {"intra": 2.5, "codec_i": 2.5})
    encoder = encoder_tensors(net)
    backend = kind(decoder, lambda: VideoAnalysis(type(net)(net.config), encoder))
    tensors: Tensors = {f"decoder.{key}": value for key, value in decoder.items()}
    tensors |= {f"encoder.{key}": value for key, value in encoder.items()}
    names = video_tables.informations(backend)
    none = {name: MainContext.neutral(backend.shapes(name, 16, 16).main[0]) for name in names}
    tensors |= tables_of(list(video_tables.count_levels(backend, clips, coded, 1, none)), none, kept=False)
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    metadata = {
        "codec": task.codec, "decoder": "integer", "name": name, "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }  # fmt: skip
    borrowing.write(output, tensors, metadata)
    output.chmod(0o644)


def main() -> None:
    torch.set_num_threads(1)
    clips = [clip_of(*which) for which in CLIPS]
    task = VideoTask(CONFIG)
    task.net = make_net(clips)
    save(OUTPUT, task, clips, CODED, "tiny-video")


if __name__ == "__main__":
    main()
