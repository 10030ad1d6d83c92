"""The part of benches/pictures.py that runs inside one process: codec, its float twin, compressai. JSON on stdout.

    python benches/pictures_codec.py PICTURE [--quick]

Everything is called once to warm up, then in rounds, each thing once a round: what else the machine does strikes all
alike. Numbers are medians over the rounds.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from nvc.bitstream.container import PictureFile, read_picture_file
from nvc.codec import models
from nvc.codec import picture as codec
from nvc.codec.picture import EncodeSettings, PictureEncoder
from nvc.media.pictures import Picture, read_picture
from nvc.networks.image_integer import BLOCK, ImageDecoder, Synthesis
from nvc.networks.integer import choose_engine

THREADS = 2
WIDTH, HEIGHT = 768, 512
LEVEL = 4.0
COMPRESSAI_WIDTHS = (128, 192)  # N and M of bmshj2018-factorized-relu at its lower qualities

Actions = dict[str, Callable[[], Any]]


def fitted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W) -> (512, 768, 3): the middle cut out, mirrored outwards where the picture is too small."""
    rgb = codec.as_rgb(pixels)
    if rgb.shape[0] > rgb.shape[1]:
        rgb = rgb.swapaxes(0, 1)
    height, width = rgb.shape[:2]
    rgb = np.pad(rgb, ((0, max(0, HEIGHT - height)), (0, max(0, WIDTH - width)), (0, 0)), mode="symmetric")
    top, left = (rgb.shape[0] - HEIGHT) // 2, (rgb.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(rgb[top : top + HEIGHT, left : left + WIDTH])


class FloatTwin:
    """The integer synthesis as an ordinary float32 network of the same shapes, from the integer tensors.

    form "5x5": transposed convolutions, as networks are usually written; "3x3": convolutions to four times the
    channels, then depth to space, as the integer engines compute it. The clamp of activations at 255 is left out.
    """

    def __init__(self, decoder: ImageDecoder, form: str, memory: torch.memory_format) -> None:
        self.form, self.memory = form, memory
        self.layers = []
        for conv in decoder.convs:
            scale = 2.0 ** -conv.shift.astype(np.float64)
            if conv.raw:
                scale = scale * 0 + 2.0 ** (decoder.up - decoder.shift)
            weight = conv.weight * scale[:, None, None, None]
            bias = conv.bias * scale
            if form == "5x5":
                weight, bias = self._as_5x5(weight), bias[: len(bias) // 4]
            else:  # pixel_shuffle wants the channel outermost
                weight = weight.reshape(4, -1, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)
                bias = bias.reshape(4, -1).T.reshape(-1)
            tensor = torch.from_numpy(weight.astype(np.float32)).contiguous(memory_format=memory)
            self.layers.append((tensor, torch.from_numpy(bias.astype(np.float32))))
        linear = decoder.linear.reshape(-1, BLOCK, BLOCK, 3).transpose(0, 3, 1, 2) * 2.0**-decoder.shift
        self.linear = torch.from_numpy(linear.astype(np.float32)).contiguous(memory_format=memory)

    @staticmethod
    def _as_5x5(weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of nvc.training.quantize.as_3x3: (4·O, I, 3, 3) -> (I, O, 5, 5)."""
        outputs, inputs = len(weight) // 4, weight.shape[1]
        phases = weight.reshape(2, 2, outputs, inputs, 3, 3)
        result = np.zeros((inputs, outputs, 5, 5))
        for y in range(5):
            for x in range(5):
                dy, dx = y % 2, x % 2
                result[:, :, y, x] = phases[dy, dx, :, :, (dy + 4 - y) // 2, (dx + 4 - x) // 2].T
        return result

    @torch.inference_mode()
    def __call__(self, latents: NDArray[np.int16]) -> NDArray[np.uint8]:
        """(h, w, M) -> (16h, 16w, 3)."""
        y = torch.from_numpy(latents).permute(2, 0, 1)[None].float().contiguous(memory_format=self.memory)
        x = y
        for i, (weight, bias) in enumerate(self.layers):
            x = F.relu(x) if i else x
            if self.form == "5x5":
                x = F.conv_transpose2d(x, weight, bias, stride=2, padding=2, output_padding=1)
            else:
                x = F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)
        x = x + F.conv_transpose2d(y, self.linear, stride=BLOCK)
        pixels: NDArray[np.uint8] = x[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
        return pixels


def use_engine(name: str | None) -> None:
    """Let the codec use this engine, or its own choice, from here on."""
    os.environ.pop("NVC_ENGINE", None)
    if name is not None:
        os.environ["NVC_ENGINE"] = name
    codec.synthesis_of.cache_clear()


def decoding_actions(file: PictureFile, model: models.ImageModel, synthesis: Any) -> Actions:
    """Entropy decode, network, both, from a parsed file in memory to pixels."""
    header = file.header

    def network(symbols: NDArray[Any]) -> NDArray[np.uint8]:
        latents = model.decoder.dequantise(symbols, header.quality_code)
        pixels: NDArray[np.uint8] = synthesis.picture(latents, header.height, header.width)
        return pixels

    symbols = codec.decode_symbols(file, model)
    return {
        "entropy decode": lambda: codec.decode_symbols(file, model),
        "network": lambda: network(symbols),
        "entropy decode + network": lambda: network(codec.decode_symbols(file, model)),
    }


def encoding_action(picture: Picture, passes: int) -> Callable[[], bytes]:
    """A file at level 4 from pixels in memory, decoded again to verify it, as the command does."""
    return lambda: PictureEncoder(picture, EncodeSettings(rdoq=passes, threads=THREADS)).encode(LEVEL).data


def compressai_actions(pixels: NDArray[np.uint8]) -> tuple[Actions, dict[str, Any]]:
    """FactorizedPriorReLU with random weights. The network costs the same whatever it has learnt.

    Its entropy decoder runs once per latent, nearly whatever that costs in bits; the bytes are reported.
    """
    from compressai.models import FactorizedPriorReLU

    torch.manual_seed(1)
    net = FactorizedPriorReLU(*COMPRESSAI_WIDTHS).eval()
    net.update(force=True)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        coded = net.compress(x)
        latents = net.entropy_bottleneck.decompress(coded["strings"][0], coded["shape"])

    def run(action: Callable[[], Any]) -> Callable[[], Any]:
        def inside() -> Any:
            with torch.inference_mode():
                return action()

        return inside

    actions = {
        "compressai entropy decode": run(
            lambda: net.entropy_bottleneck.decompress(coded["strings"][0], coded["shape"])
        ),
        "compressai network": run(lambda: net.g_s(latents).clamp_(0, 1)),
        "compressai decode": run(lambda: net.decompress(coded["strings"], coded["shape"])),
    }
    about = {"model": "FactorizedPriorReLU(128, 192)", "bytes": len(coded["strings"][0][0])}
    return actions, about


def medians(actions: Actions, rounds: int) -> dict[str, float]:
    """Seconds of each, called in turn."""
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


def twins(decoder: ImageDecoder) -> dict[str, FloatTwin]:
    """Every way of writing the float network: the fastest is the one to beat."""
    memories = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
    return {
        f"float32 network, {form}, {layout}": FloatTwin(decoder, form, memory)
        for form in ("5x5", "3x3")
        for layout, memory in memories.items()
    }


def measure_decoding(picture: Picture, rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds by name, and what was decoded."""
    model = models.load()
    decoder = model.decoder
    assert isinstance(decoder, ImageDecoder), "the default model is an integer one"
    data = PictureEncoder(picture, EncodeSettings(threads=THREADS)).encode(LEVEL).data
    file = read_picture_file(data)
    symbols = codec.decode_symbols(file, model)
    latents = decoder.dequantise(symbols, file.header.quality_code)
    best = choose_engine(list(decoder.convs))
    plain = choose_engine(list(decoder.convs), "float32")
    shown = Synthesis(decoder, best).picture(latents, HEIGHT, WIDTH)
    actions = decoding_actions(file, model, Synthesis(decoder, best))
    for name, action in decoding_actions(file, model, Synthesis(decoder, plain)).items():
        if name != "entropy decode":  # no engine has a part in it
            actions[f"{name}, NVC_ENGINE=float32"] = action
    agreement = {}
    for name, twin in twins(decoder).items():  # from symbols to 8-bit pixels, as `network`
        actions[name] = lambda twin=twin: twin(decoder.dequantise(symbols, file.header.quality_code))  # type: ignore[misc]
        agreement[name] = codec.psnr(twin(latents), shown)
    if min(agreement.values()) < 35:
        raise SystemExit(f"a float twin does not show the same picture: {agreement}")
    about: dict[str, Any] = {
        "model": {"name": model.info.name, "id": model.info.id},
        "engine": best.name,
        "file_bytes": len(data),
        "twin_psnr": {name: round(db, 2) for name, db in agreement.items()},
    }
    try:
        more, about["compressai"] = compressai_actions(picture.pixels)
        actions |= more
    except ImportError:
        about["compressai"] = None  # needs the extra `research`
    return medians(actions, rounds), about


def measure_encoding(picture: Picture, rounds: int, quick: bool) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds by name, and the bytes by number of passes."""
    actions = {n: encoding_action(picture, n) for n in ((0, 3) if quick else (0, 1, 2, 3))}
    sizes = {str(n): len(action()) for n, action in actions.items()}
    seconds: dict[str, float] = {}
    for engine in (None, "float32"):
        ending = "" if engine is None else f", NVC_ENGINE={engine}"
        use_engine(engine)
        for n, action in actions.items():
            seconds |= medians({f"encode, {n} passes{ending}": action}, rounds if n else 5 * rounds)
    use_engine(None)
    return seconds, sizes


def main() -> None:
    parser = argparse.ArgumentParser(description="The in-process half of benches/pictures.py.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    os.environ.pop("NVC_ENGINE", None)
    picture = Picture(fitted(read_picture(options.picture).pixels))
    print("decoding ...", file=sys.stderr)
    decoding, about = measure_decoding(picture, 5 if options.quick else 25)
    print("encoding ...", file=sys.stderr)
    encoding, sizes = measure_encoding(picture, 1 if options.quick else 3, options.quick)
    about |= {"threads": THREADS, "torch": torch.__version__, "numpy": np.__version__, "bytes_by_passes": sizes}
    about |= {"picture": options.picture.name, "width": WIDTH, "height": HEIGHT, "level": LEVEL}
    seconds = {name: float(f"{value:.4g}") for name, value in (decoding | encoding).items()}
    print(json.dumps({"about": about, "seconds": seconds}))


if __name__ == "__main__":
    main()
