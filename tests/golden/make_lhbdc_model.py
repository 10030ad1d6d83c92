"""Makes tests/data/tiny_lhbdc.safetensors: `python tests/golden/make_lhbdc_model.py` from the repository.

As make_video_model.py, for the codec lhbdc: five frames of each clip, in groups. Flows and weights of its random
networks of B frames are wilder than any that training makes: weights reach both ends. The rule of make_video_model.py
for when to run it holds here too.
"""

from functools import partial

import torch
from make_video_model import CLIPS, DATA, clip_of, differences, enliven, save, start, start_transform

from nvc.networks.intra import TransformConfig
from nvc.networks.lhbdc import VECTORS, LhbdcConfig, LhbdcNet
from nvc.networks.planes import PLANES
from nvc.networks.ssf import MotionConfig
from nvc.training.clips import Clip
from nvc.training.coded_frames import coded_frames
from nvc.training.lhbdc_task import LhbdcTask

OUTPUT = DATA / "tiny_lhbdc.safetensors"
CONFIG = LhbdcConfig(
    intra=TransformConfig(20, (4, 6), (6, 4), 4, 8),
    motion=MotionConfig(8, 8, 8, 4, 8),
    residual=TransformConfig(8, (4, 6), (6, 4), 4, 8, seen=PLANES),
    bimotion=MotionConfig(24, 8, 8, 4, 8, coded=VECTORS + 1, made=VECTORS + 1, seen=3),
    biresidual=TransformConfig(8, (4, 6), (6, 4), 4, 8, seen=PLANES),
)
FRAMES = 5
CODED = partial(coded_frames, frames=FRAMES)


def make_net(clips: list[Clip]) -> LhbdcNet:
    """The float networks."""
    torch.manual_seed(2027)
    net = LhbdcNet(CONFIG).eval()
    start(net, clips)
    net.bimotion.start()
    enliven(net.bimotion)
    start_transform(net.biresidual, differences(clips))
    return net.requires_grad_(False)


def main() -> None:
    torch.set_num_threads(1)
    clips = [clip_of(*which, FRAMES) for which in CLIPS]
    task = LhbdcTask(CONFIG)
    task.net = make_net(clips)
    save(OUTPUT, task, clips, CODED, "tiny-lhbdc")


if __name__ == "__main__":
    main()
