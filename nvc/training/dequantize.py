"""A weight file back to float networks, for a training run to start from: what nvc.training.quantize does, undone.

The synthesis comes from the integers that decoders run (8 bits of its weights), the analysis from `encoder.`. What
integers do not hold, or hold rounded, a file carries along as `training.`, float32, a few kB: the scale of every hidden
channel, and all parameters of steps and rates. Decoders do not look at it.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.codec.models import UNSOUND, Tensors, WeightFile, unsound
from nvc.errors import InputError
from nvc.networks.aivc import CodecNet
from nvc.networks.aivc_integer import CodecDecoder, ModeDecoder
from nvc.networks.image_integer import UNIT
from nvc.networks.intra import TransformNet
from nvc.networks.planes import PLANES
from nvc.networks.ssf import FLOW_UNIT as MOTION_UNIT
from nvc.networks.ssf import MotionNet
from nvc.networks.ssf_integer import FLOW_UNIT, PIXEL_UNIT
from nvc.training.aivc_task import AivcTask
from nvc.training.lhbdc_task import LhbdcTask
from nvc.training.picture_task import PictureTask
from nvc.training.quantize import Beside, hidden_scale
from nvc.training.quantize_video import MOTION_SCALE, Ranges, folded, hyper_scale, phases_first
from nvc.training.task import Task
from nvc.training.video_task import VideoTask

KEPT = ("log_step", "offset", "log_scale", "logit")  # last names of parameters that are neither weight nor bias
SYNTHESIS = {"g_s", "l_s", "h_s", "shortcut"}  # what decoders have in integers
GREY = 0.5  # what the integer synthesis of pictures and I frames adds beside its layers


def training_tensors(modules: dict[str, nn.Module], ranges: Ranges) -> Tensors:
    """`training.` of a weight file. modules: of a Task; ranges: of hidden layers, by the synthesis's name."""
    tensors: Tensors = {
        f"{module}.{name}": value.detach().float().numpy()
        for module, net in modules.items()
        for name, value in net.state_dict().items()
        if name.rpartition(".")[2] in KEPT
    }
    for name, layers in ranges.items():
        for i, largest in enumerate(layers):
            tensors[f"scale.{name}.{i}"] = hidden_scale(largest).astype(np.float32)
    return tensors


def float_weights(path: Path) -> dict[str, Any]:
    """What `checkpoints.read_weights` gives. InputError where the file has no `training.`, or is not sound."""
    file = WeightFile(path)
    training = file.tensors("training.")
    if not training or (file.info.codec, file.kind) not in _FILL:
        raise InputError(f"{path}: holds no training state to start from; take the checkpoint it was made of")
    kind, fill = _FILL[file.info.codec, file.kind]
    try:
        task = kind(file.config)
        state = {f"net.{name}": torch.from_numpy(value) for name, value in file.encoder().items()}
        state |= {n: torch.from_numpy(value) for n, value in training.items() if not n.startswith("scale.")}
        scales = {n.removeprefix("scale."): v.astype(np.float64) for n, v in training.items() if n.startswith("scale.")}
        with torch.no_grad():
            fill(task.net, file.decoder_tensors(), scales)
            for module, net in task.modules.items():
                own = {n.removeprefix(f"{module}."): v for n, v in state.items() if n.startswith(f"{module}.")}
                filled = {n: v for n, v in net.state_dict().items() if SYNTHESIS & set(n.split("."))}
                net.load_state_dict(filled | own)
    except (*UNSOUND, RuntimeError) as exc:  # load_state_dict and copy_ raise RuntimeError
        raise unsound(path, exc) from exc
    modules = {name: dict(module.state_dict()) for name, module in task.modules.items()}
    return {"codec": task.codec, "config": file.config} | modules


def _image(net: Any, decoder: Tensors, scales: Tensors) -> None:
    layers = [layer for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    _fill_stack(layers, decoder, _hidden(scales, "g_s"), np.full(net.config.latents, UNIT), np.full(3, 255.0))
    _fill_block(net, decoder, UNIT, GREY)


def _video(net: Any, decoder: Tensors, scales: Tensors) -> None:
    for name in (information.name for information in fields(net.config)):
        part: TransformNet | MotionNet = getattr(net, name)
        m, own = part.config.latents, _below(decoder, name)
        _fill_hyper(part, own, _hidden(scales, f"{name}.hyper"))
        if isinstance(part, TransformNet):
            layers = [layer for layer in part.g_s if isinstance(layer, nn.ConvTranspose2d)]
            scale_out = np.full(layers[-1].out_channels, 255.0)
            _fill_stack(layers, own, _hidden(scales, name), np.full(m, PIXEL_UNIT), scale_out)
            _fill_block(part, own, PIXEL_UNIT, GREY if name == "intra" else 0.0)
        else:
            _fill_motion(part, own, _hidden(scales, name))


def _aivc(net: Any, decoder: Tensors, scales: Tensors) -> None:
    """The networks that frame types share are filled once."""
    for name, kind in (("codec_i", CodecDecoder), ("mode_p", ModeDecoder)):
        part, own = getattr(net, name), _below(decoder, name)
        _fill_hyper(part, own, _hidden(scales, f"{name}.hyper"))
        hidden, known = _hidden(scales, name), _hidden(scales, f"{name}.known")
        beside = kind.joined, known[-1]
        if isinstance(part, CodecNet):
            layers = [layer for layer in part.g_s if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d)]
            unit, scale_in = 255.0, np.full(part.config.latents, PIXEL_UNIT)
            _fill_stack(layers, own, hidden, scale_in, np.full(PLANES, 255.0), beside)
            _fill_block(part, own, PIXEL_UNIT, 0.0)
        else:
            unit = MOTION_SCALE * MOTION_UNIT
            _fill_motion(part, own, hidden, beside)
            straight, last = 4 * part.STRAIGHT, part.g_s[part.JOINED]
            _bias(part.l_s)[:straight] = _bias(last)[:straight]  # what the network says of flows counts for nothing
            _bias(last)[:straight] = 0
        back, scale_in = np.argsort(folded(kind.seen // 4)), np.full(kind.seen, unit)
        convs = (layer for layer in part.shortcut if isinstance(layer, nn.Conv2d))
        for i, (layer, scale) in enumerate(zip(convs, known, strict=True)):
            weight, bias = _float_layer(own, f"known{i}", scale_in, scale)
            layer.weight.copy_(torch.from_numpy(weight[:, back] if i == 0 else weight))
            _bias(layer).copy_(torch.from_numpy(bias))
            scale_in = scale


def _below(tensors: Tensors, name: str) -> Tensors:
    return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}


def _fill_hyper(part: Any, own: Tensors, hidden: list[NDArray[np.float64]]) -> None:
    """The hyper-synthesis of an information whose tensors are `own`."""
    deconvs = [layer for layer in part.coder.hyper.h_s if isinstance(layer, nn.ConvTranspose2d)]
    scale_out = hyper_scale(part.config.latents)
    _fill_stack(deconvs, _below(own, "hyper"), hidden, np.ones(part.config.side), scale_out)


_FILL: dict[tuple[str, str], tuple[type[Task], Callable[[Any, Tensors, Tensors], None]]] = {
    ("image", "integer"): (PictureTask, _image),
    ("ssf", "integer"): (VideoTask, _video),
    ("lhbdc", "integer"): (LhbdcTask, _video),
    ("aivc", "integer"): (AivcTask, _aivc),
}


def _hidden(scales: Tensors, name: str) -> list[NDArray[np.float64]]:
    return [scales[f"{name}.{i}"] for i in range(sum(key.rpartition(".")[0] == name for key in scales))]


def _float_layer(
    tensors: Tensors, name: str, scale_in: NDArray[np.float64], out: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight (O, I, 3, 3) and bias (O,) of a layer. out: integers for one unit of each of the O outputs."""
    weight, bias, shift = (tensors[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias", "shift"))
    unit = np.exp2(-shift) / out
    return weight * unit[:, None, None, None] * scale_in[:, None, None], bias * unit


def _fill_stack(
    layers: Sequence[nn.ConvTranspose2d | nn.Conv2d], tensors: Tensors, hidden: list[NDArray[np.float64]],
    scale_in: NDArray[np.float64], scale_out: NDArray[np.float64], beside: Beside | None = None,
) -> None:  # fmt: skip
    """Transposed 5x5 convolutions from their 3x3 ones (see `as_3x3`), and 3x3 ones. beside: see `quantise_layers`."""
    for i, (layer, scale) in enumerate(zip(layers, [*hidden, scale_out], strict=True)):
        if beside is not None and i == beside[0]:
            scale_in = np.concatenate([scale_in, beside[1]])
        transposed = isinstance(layer, nn.ConvTranspose2d)
        weight, bias = _float_layer(tensors, f"conv{i}", scale_in, np.tile(scale, 4) if transposed else scale)
        layer.weight.copy_(torch.from_numpy(from_3x3(weight) if transposed else weight))
        _bias(layer).copy_(torch.from_numpy(bias[: len(scale)]))  # the four phases have the same
        scale_in = scale


def from_3x3(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `quantize.as_3x3`: (4·O, I, 3, 3) -> (I, O, 5, 5)."""
    phases = weight.reshape(2, 2, len(weight) // 4, *weight.shape[1:])
    result = np.zeros((weight.shape[1], len(weight) // 4, 5, 5))
    for dy in (0, 1):
        for dx in (0, 1):
            for a in range(3):
                for b in range(3):
                    tap_y, tap_x = dy + 2 - 2 * (a - 1), dx + 2 - 2 * (b - 1)
                    if tap_y < 5 and tap_x < 5:
                        result[:, :, tap_y, tap_x] = phases[dy, dx, :, :, a, b].T
    return result


def _linear(decoder: Tensors, unit: float, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, outputs) in sample units for one of y; scale: integers for one unit of each plane."""
    matrix = decoder["linear"].astype(np.float64)
    return matrix * 2.0 ** -float(decoder["scale"][1]) * unit / np.tile(scale, matrix.shape[1] // len(scale))


def _fill_block(net: Any, decoder: Tensors, unit: float, grey: float) -> None:
    """The linear path; what both paths add stays with the last layer of the network."""
    m, planes, block, _ = net.l_s.weight.shape
    linear = _linear(decoder, unit, np.full(planes, 255.0)).reshape(m, block, block, planes)
    net.l_s.weight.copy_(torch.from_numpy(linear.transpose(0, 3, 1, 2).copy()))
    net.l_s.bias.zero_()
    _bias(net.g_s[-1]).sub_(grey)


def _fill_motion(
    net: MotionNet, decoder: Tensors, hidden: list[NDArray[np.float64]], beside: Beside | None = None
) -> None:
    first, last = (layer for layer in net.g_s if isinstance(layer, nn.Conv2d))
    made = net.config.made
    back, scale = np.argsort(phases_first(made)), np.full(made, MOTION_SCALE)
    scale_in = np.full(net.config.latents, FLOW_UNIT)
    joined = hidden[0] if beside is None else np.concatenate([hidden[0], beside[1]])
    for layer, values in (
        (first, _float_layer(decoder, "conv0", scale_in, hidden[0])),
        (last, [value[back] for value in _float_layer(decoder, "conv1", joined, np.tile(scale, 4))]),
    ):
        layer.weight.copy_(torch.from_numpy(values[0]))
        _bias(layer).copy_(torch.from_numpy(values[1]))
    linear = _linear(decoder, FLOW_UNIT, scale)[:, back]
    net.l_s.weight.copy_(torch.from_numpy(linear.T.copy())[:, :, None, None])
    _bias(net.l_s).zero_()


def _bias(layer: Any) -> Tensor:
    bias: Tensor = layer.bias
    return bias
