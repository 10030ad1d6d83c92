"""Where the training of conditional coding starts: from structure, or from what other codecs have learned.

start_from_klt, ModeNet.start_from_haar     from clips alone
start_from_image                            CodecNet from the picture codec
start_from_motion                           ModeNet from the motion networks of the bi-directional codec
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc.networks.aivc import NUMBERS, SKIP_LATENT, SKIP_UNIT, AivcNet, CodecNet, ModeNet
from nvc.networks.hyperprior import SCALES, Hyperprior, scale_index
from nvc.networks.image import ImageNet
from nvc.networks.intra import BLOCK, TransformNet
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.lhbdc import VECTORS, LhbdcNet
from nvc.networks.planes import PLANES
from nvc.training.quantize import as_3x3

LUMA = (0.299, 0.587, 0.114)
FINER = 0.6  # natural logarithm of planes' steps over those of RGB: an error counts for less in (6Y + U + V)/8
HAAR = (
    torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1.0]]) / 2
)  # of the cells at one position
SKIP_DEVIATION = (0.5, 0.2, 0.2, 0.2)  # symbols


@torch.no_grad()
def start_from_klt(codec: CodecNet, basis: Tensor) -> None:
    """Linear path = the KLT, network path = zero, steps = those of a uniform quantiser at high rate (see TransformNet).

    basis: (M, 6, 8, 8) orthonormal rows.
    """
    codec.l_a.weight.copy_(basis)
    codec.l_s.weight.copy_(basis)
    for layer in (codec.l_a, codec.l_s, codec.g_a[-1], codec.g_s[-1]):
        if layer is not codec.l_a and layer is not codec.l_s:
            layer.weight.zero_()  # type: ignore[union-attr, operator]
        layer.bias.zero_()  # type: ignore[union-attr, operator]
    log_step = torch.tensor([0.5 * math.log(6 / 0.6931 / (0.7 * lam)) - math.log(255) for lam in LAMBDAS])
    codec.coder.log_step.copy_(log_step[:, None].expand_as(codec.coder.log_step))


@torch.no_grad()
def rates_from(codec: CodecNet, latents: list[Tensor]) -> None:
    """Offsets of scale indexes, for latents (1, M, h, w) as the analysis gives them, and the rate model of z."""
    deviation = torch.cat([y.transpose(0, 1).flatten(1) for y in latents], 1).std(1)
    coder = codec.coder
    coder.hyper.offset.copy_(scale_index(deviation[None] / coder.log_step.exp()).clamp(0, SCALES - 1))
    coder.prior.start_from(torch.full_like(coder.prior.logit, 0.5))


@torch.no_grad()
def start_hyperprior(hyper: Hyperprior) -> None:
    """No side information yet."""
    first, last = hyper.h_a[-1], hyper.h_s[-1]
    first.weight.mul_(8)  # type: ignore[operator, union-attr] # side latents that all round to 0 would teach h_s nothing
    last.weight.zero_()  # type: ignore[operator, union-attr]
    last.bias.zero_()  # type: ignore[operator, union-attr]


@torch.no_grad()
def start_from_image(codec: CodecNet, net: ImageNet) -> None:
    """With the networks of the picture codec, its colours turned into planes; the shortcut hardly acts at first.

    Colours are taken for BT.601 of limited range. The result does what the picture codec did, but for what colour
    conversion and borders change.
    """
    to_yuv = _yuv_of_rgb()
    to_rgb = torch.linalg.inv(to_yuv)
    own, theirs = _tensors(codec), _tensors(net)
    own["l_a.weight"].copy_(_planes_in(theirs["l_a.weight"], to_rgb))
    own["l_a.bias"].copy_(theirs["l_a.bias"])
    made = torch.einsum("kc,mchw->mkhw", to_yuv, theirs["l_s.weight"])
    made = made.unflatten(3, (BLOCK, 2)).unflatten(2, (BLOCK, 2))  # (M, 3, 8, 2, 8, 2)
    luma = made[:, 0].permute(0, 2, 4, 1, 3).flatten(1, 2)
    own["l_s.weight"].copy_(torch.cat([luma, made[:, 1:].mean((3, 5))], 1))
    own["g_a.0.weight"].zero_()
    own["g_a.0.weight"][:, :PLANES] = _planes_in(F.pad(theirs["g_a.0.weight"], (0, 1, 0, 1)), to_rgb)
    for name in ("g_a.0.bias", "g_s.4.bias"):
        own[name].copy_(theirs[name])
    for layer in ("g_a.2", "g_a.4", "g_a.6", "g_s.0", "g_s.2"):
        for part in ("weight", "bias"):
            own[f"{layer}.{part}"].copy_(theirs[f"{layer}.{part}"])
    joined = theirs["g_s.4.weight"]
    own["g_s.4.weight"].mul_(0.05)[: len(joined)] = joined
    own["g_s.6.weight"].copy_(_planes_of_last(theirs["g_s.6.weight"], to_yuv))
    colour = to_yuv @ (theirs["g_s.6.bias"] + theirs["l_s.bias"])
    own["g_s.6.bias"].copy_(torch.cat([colour[:1].repeat(4), colour[1:]]))
    own["l_s.bias"].zero_()
    codec.coder.log_step.copy_(theirs["log_step"] + FINER)


@torch.no_grad()
def keep_latents(codec: CodecNet, whole: CodecNet, keep: Tensor) -> None:
    """Networks and gains of a codec with more latents, those of them whose indexes are given.

    Analyses are taken where both are of the same kind, so that two codecs that share the rest can be given in turn.
    """
    own, theirs = _tensors(codec), _tensors(whole)
    both = torch.cat([keep, whole.config.latents + keep])  # means, then scale indexes
    places = {
        **{f"{name}.{part}": (0, keep) for name in ("l_a", _last(codec.g_a)) for part in ("weight", "bias")},
        **dict.fromkeys(("l_s.weight", "g_s.0.weight"), (0, keep)),
        **dict.fromkeys(("coder.log_step", "coder.hyper.offset", "coder.hyper.h_a.0.weight"), (1, keep)),
        "coder.hyper.h_s.2.weight": (1, both), "coder.hyper.h_s.2.bias": (0, both),
    }  # fmt: skip
    for name, value in theirs.items():
        axis, which = places.get(name, (0, None))
        own[name].copy_(value if which is None else value.index_select(axis, which))


def _last(stack: nn.Sequential) -> str:
    """The name of the last layer of an analysis."""
    return f"g_a.{len(stack) - 1}"


@torch.no_grad()
def start_from_motion(net: AivcNet, other: LhbdcNet) -> None:
    """ModeNet from the motion network of B frames; gains of P frames from that of P frames.

    The analysis of predicted frames from that of residuals, where widths allow it.
    """
    start_residual(net.codec_p, other.residual)
    widen(net.mode_p, other.bimotion)
    net.mode_b.coder.load_state_dict(net.mode_p.coder.state_dict())
    coder, theirs = net.mode_p.coder, other.motion.coder
    log_step, offset = coder.log_step, coder.hyper.offset
    per = VECTORS + 1  # latents of one coefficient in the network that was widened
    for k in range(len(HAAR)):
        for part in range(2):  # the sum of two flows that are the same, and their difference
            total = per * k + part
            log_step[:, total] = theirs.log_step[:, 2 * k + part] + 0.5 * math.log(2)
            offset[:, total] = theirs.hyper.offset[:, 2 * k + part]
            log_step[:, total + 2], offset[:, total + 2] = math.log(6.0), -2.0
        log_step[:, per * k + VECTORS], offset[:, per * k + VECTORS] = math.log(8.0), -2.0  # there is no weight


@torch.no_grad()
def start_residual(codec: CodecNet, net: TransformNet) -> None:
    """The analysis of predicted frames: that of residuals, taken from its latents to those of this codec.

    Both linear paths are transforms of the same blocks: the latents are those of which this synthesis makes what the
    other one makes of its own. What was left out as not worth coding stays out.
    """
    own, theirs = _tensors(codec), _tensors(net)
    layers = [name for name in theirs if name.startswith("g_a.")]
    if any(own[name].shape[1:] != theirs[name].shape[1:] for name in layers):
        return
    turn = torch.linalg.pinv(own["l_s.weight"].flatten(1).T) @ theirs["l_s.weight"].flatten(1).T  # (M here, M there)
    last = layers[-1].split(".")[1]
    for name in layers:
        value = theirs[name]
        own[name].copy_(torch.einsum("mn,n...->m...", turn, value) if name.startswith(f"g_a.{last}.") else value)
    for part in ("weight", "bias"):
        own[f"l_a.{part}"].copy_(torch.einsum("mn,n...->m...", turn, theirs[f"l_a.{part}"]))


@torch.no_grad()
def widen(net: ModeNet, motion: Any) -> None:
    """The motion network of B frames, with skip and a shortcut beside what it codes: these begin with no effect.

    What it adds to the linear path of flows has none from here on (ModeNet.STRAIGHT).
    """
    config, old = net.config, motion.config
    m, n = old.latents, old.coded
    skip = SKIP_LATENT + torch.arange(4)  # latents that carry the Haar transform of skip
    own, theirs = _tensors(net), _tensors(motion)

    def put(name: str, *places: Any) -> None:
        """Theirs at these places, 0 elsewhere."""
        own[name].zero_()
        own[name][places] = theirs[name]

    put("g_a.0.weight", slice(None), torch.tensor([*range(n), *range(NUMBERS, NUMBERS + old.seen)]))
    for name in ("g_a.0.bias", "g_a.2.weight", "g_a.2.bias", "g_s.0.bias", "coder.hyper.h_a.0.bias",
                 "coder.hyper.h_a.2.weight", "coder.hyper.h_a.2.bias", "coder.hyper.h_s.0.weight",
                 "coder.hyper.h_s.0.bias", "coder.prior.log_scale", "coder.prior.logit"):  # fmt: skip
        own[name].copy_(theirs[name])
    for name in ("g_a.4.weight", "g_a.4.bias", "l_a.bias"):
        put(name, slice(m))
    for name in ("l_s.bias", "g_s.2.bias"):
        put(name, slice(4 * n))
    put("l_a.weight", slice(m), slice(n))
    put("l_s.weight", slice(4 * n), slice(m))
    own["l_a.weight"][skip, n] = HAAR.reshape(4, 2, 2)
    own["l_s.weight"][4 * n :, skip, 0, 0] = HAAR.T
    put("g_s.0.weight", slice(None), slice(m))
    put("g_s.2.weight", slice(4 * n), slice(old.synthesis))
    own["g_s.2.weight"][: 4 * n, old.synthesis :].normal_(std=1e-3)
    put("coder.hyper.h_a.0.weight", slice(None), slice(m))
    both = torch.cat([torch.arange(m), config.latents + torch.arange(m)])
    put("coder.hyper.h_s.2.weight", slice(None), both)
    put("coder.hyper.h_s.2.bias", both)
    own["coder.log_step"][:, :m], own["coder.hyper.offset"][:, :m] = (
        theirs["coder.log_step"], theirs["coder.hyper.offset"],
    )  # fmt: skip
    start_skip(net)


@torch.no_grad()
def start_skip(net: ModeNet) -> None:
    """Gains of skip: a block that is skipped is one symbol, its mean coefficient being twice the unit."""
    skip = SKIP_LATENT + torch.arange(4)
    net.coder.log_step[:, skip] = math.log(2 * SKIP_UNIT)
    net.coder.hyper.offset[:, skip] = scale_index(torch.tensor(SKIP_DEVIATION))


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, not copied."""
    return {name: value.detach() for name, value in net.state_dict(keep_vars=True).items()}


def _yuv_of_rgb() -> Tensor:
    """(3, 3), of numbers 0..1 of both, limited range; offsets left out."""
    red, green, blue = LUMA
    rows = [
        [red, green, blue],
        [-0.5 * red / (1 - blue), -0.5 * green / (1 - blue), 0.5],
        [0.5, -0.5 * green / (1 - red), -0.5 * blue / (1 - red)],
    ]
    return torch.tensor(rows) * torch.tensor([219 / 255, 224 / 255, 224 / 255])[:, None]


def _planes_in(weight: Tensor, to_rgb: Tensor) -> Tensor:
    """Weights (O, 3, 2h, 2w) of RGB -> (O, 6, h, w) of planes: chroma stands for four pixels.

    A 5x5 kernel of stride 2, continued to 6x6, becomes the 3x3 kernel of stride 1 on planes that does the same.
    """
    turned = torch.einsum("ock,cy->oyk", weight.flatten(2), to_rgb).unflatten(2, weight.shape[2:])
    return torch.cat([F.pixel_unshuffle(turned[:, :1], 2), 4 * F.avg_pool2d(turned[:, 1:], 2)], 1)


def _planes_of_last(weight: Tensor, to_yuv: Tensor) -> Tensor:
    """A transposed 5x5 kernel (I, 3, 5, 5) of stride 2 to RGB -> a 3x3 kernel (6, I, 3, 3) to planes."""
    phases = torch.from_numpy(as_3x3(weight)).to(weight.dtype).unflatten(0, (4, 3))
    made = torch.einsum("yc,pciab->pyiab", to_yuv, phases)
    return torch.cat([made[:, 0], made[:, 1:].mean(0)])
