"""Makes tests/data/tiny_aivc.safetensors: `python tests/golden/make_aivc_model.py` from the repository.

As make_lhbdc_model.py, for the codec aivc. Frame types share their networks and have gains of their own; parts of the
clips are skipped. The rule of make_video_model.py for when to run it holds here too.
"""

from functools import partial

import numpy as np
import torch
from make_video_model import CLIPS, DATA, blocks_of, clip_of, differences, enliven, save

from nvc.networks.aivc import GREY, AivcConfig, AivcNet, CodecConfig, ModeConfig
from nvc.networks.intra import BLOCK
from nvc.networks.planes import PLANES
from nvc.training.aivc_start import rates_from, start_from_klt, start_skip
from nvc.training.aivc_task import AivcTask
from nvc.training.clips import Clip
from nvc.training.coded_frames import coded_frames

OUTPUT = DATA / "tiny_aivc.safetensors"
CONFIG = AivcConfig(
    CodecConfig(20, (4, 6, 8), (4, 6), (8, 6, 4), shortcut=4, side=4, hidden=8),
    ModeConfig(latents=44, analysis=8, synthesis=8, side=4, hidden=8, shortcut=4),
)
FRAMES = 5
CODED = partial(coded_frames, frames=FRAMES)
APART = {"codec_p": 0.05, "codec_b": -0.1, "mode_b": 0.1}  # natural logarithm of steps over those of the first


def make_net(clips: list[Clip]) -> AivcNet:
    """The float networks."""
    torch.manual_seed(2030)
    net = AivcNet(CONFIG).eval()
    start_codec(net, clips)
    net.mode_p.start()
    start_skip(net.mode_p)
    enliven(net.mode_p)
    net.mode_b.coder.load_state_dict(net.mode_p.coder.state_dict())
    with torch.no_grad():
        for name, more in APART.items():
            getattr(net, name).coder.log_step.add_(more)
        for layer in (net.mode_p.shortcut[0], net.mode_p.shortcut[2]):
            layer.bias.abs_()  # type: ignore[operator, union-attr] # alive in P frames, where all that they see is 0
    return net.requires_grad_(False)


def start_codec(net: AivcNet, clips: list[Clip]) -> None:
    """Linear path = the KLT of frames and of what changes from one to the next."""
    still = np.concatenate([blocks_of(plane / 255 - GREY) for clip in clips for plane in clip.planes])
    moving = differences(clips)
    blocks = np.concatenate([still, 4 * moving])
    vectors = np.linalg.eigh(blocks.T @ blocks / len(blocks))[1][:, ::-1].T
    latents = CONFIG.codec.latents
    basis = torch.from_numpy(vectors[:latents].reshape(latents, PLANES, BLOCK, BLOCK).copy()).float()
    first = net.codec_i
    for part in (first, net.codec_p):
        start_from_klt(part, basis)
    enliven(first)
    with torch.no_grad():
        first.coder.hyper.h_s[-1].bias.zero_()  # type: ignore[operator, union-attr]
        last = net.codec_p.g_a[-1].weight
        last.normal_(0, 0.05 / last[0].numel() ** 0.5)  # type: ignore[index, operator, union-attr]
    for part, seen in ((first, still), (net.codec_p, moving), (net.codec_b, moving)):
        with torch.no_grad():
            part.coder.log_step.copy_(first.coder.log_step)
            y = torch.from_numpy(seen).float() @ basis.flatten(1).T
        rates_from(part, [y.T[None, :, :, None]])


def main() -> None:
    torch.set_num_threads(1)
    clips = [clip_of(*which, FRAMES) for which in CLIPS]
    task = AivcTask(CONFIG)
    task.net = make_net(clips)
    save(OUTPUT, task, clips, CODED, "tiny-aivc")


if __name__ == "__main__":
    main()
