"""The training loop: bf16, resumable, paced by a budget of minutes so that a run always ends annealed."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nvc.errors import InputError
from nvc.networks.image import BLOCK, LEVELS, ImageConfig, ImageNet
from nvc.networks.priors import LogisticMixturePrior
from nvc.training.data import CropSampler, halve, klt, read_folder
from nvc.training.losses import Loss, picture_loss

FINE_LEVEL = 6  # levels from here on (index; 7 and 8 by name) also train on halved pictures, see data.halve


@dataclass
class FitSettings:
    """`minutes` is the whole budget, over all resumed parts; the learning rate follows a cosine of time spent."""

    minutes: float
    steps: int = 10**9
    batch: int = 4
    crop: int = 256
    rate: float = 2e-4  # of the networks: at 6e-4 their ReLUs die within minutes (docs/training.md)
    warmup: int = 300
    fine_share: float = 0.2  # of the steps, on halved pictures at the finest levels
    seed: int = 1
    save_every: float = 120.0  # seconds


class Trainer:
    """Model, prior, optimiser and clock; everything that a checkpoint must hold."""

    def __init__(self, config: ImageConfig, settings: FitSettings, device: torch.device) -> None:
        self.config, self.settings, self.device = config, settings, device
        self.net = ImageNet(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.prior = LogisticMixturePrior(LEVELS, config.latents).to(device)
        self.optimizer = torch.optim.Adam(self._groups(), betas=(0.9, 0.99))
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.step = 0
        self.seconds = 0.0

    def _groups(self) -> list[dict[str, Any]]:
        """Learning rates relative to the networks': the KLT is nearly right, steps and prior are far off at first."""
        net, rate = self.net, self.settings.rate
        groups: list[tuple[list[nn.Parameter], float]] = [
            ([*net.g_a.parameters(), *net.g_s.parameters()], 1.0),
            ([*net.l_a.parameters(), *net.l_s.parameters()], 0.2),
            ([net.log_step], 8.0),
            (list(self.prior.parameters()), 40.0),
        ]
        return [{"params": p, "lr": rate * scale, "base": rate * scale} for p, scale in groups]

    def progress(self) -> float:
        """0..1, the larger of the shares of minutes and of steps."""
        return min(1.0, max(self.seconds / (60 * self.settings.minutes), self.step / self.settings.steps))

    def start(self, basis: Tensor, deviation: Tensor) -> None:
        """From structure, not from noise: the KLT and the spread of its coefficients."""
        self.net.start_from_klt(basis, deviation)
        self.prior.start_from(deviation.to(self.device)[None] / self.net.log_step.detach().exp())

    def train_step(self, x: Tensor, level: Tensor, loss_of: Callable[..., Loss]) -> Loss:
        """One update. Returns the loss still on the device: reading it would stall a GPU."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup)
        factor = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = loss_of(self.net, self.prior, x, level)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        return loss

    def state(self) -> dict[str, Any]:
        """A checkpoint: tensors and plain numbers only, so that it loads with weights_only."""
        return {
            "config": asdict(self.config),
            "settings": asdict(self.settings),
            "net": self.net.state_dict(),
            "prior": self.prior.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "noise": _noise_state(self.device),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken; the budget and rates are those of this trainer's settings."""
        self.net.load_state_dict(state["net"])
        self.prior.load_state_dict(state["prior"])
        bases = [group["base"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, base in zip(self.optimizer.param_groups, bases, strict=True):
            group["base"] = base
        self.generator.set_state(state["generator"].cpu())
        if "noise" in state:
            _set_noise_state(self.device, state["noise"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]


def _noise_state(device: torch.device) -> Tensor:
    """State of the generator that the loss draws its noise from: torch's own, of the device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_noise_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def read_tensor_file(path: Path) -> Any:
    """What torch.save wrote, on the CPU; tensors and plain values only, no code is run. Raises InputError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as exc:  # the unpickler raises what it likes on bytes that are no pickle
        reason = getattr(exc, "strerror", None) or "not a PyTorch file of tensors and plain values alone"
        raise InputError(f"{path}: {reason}") from exc


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of `Trainer.state`, on the CPU. Raises InputError."""
    state = read_tensor_file(path)
    if not isinstance(state, dict) or not {"config", "net", "prior", "optimizer", "generator", "step"} <= state.keys():
        raise InputError(f"{path}: not a checkpoint of nvc-train fit")
    state["config"] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["config"].items()}
    return state


def read_weights(path: Path) -> dict[str, Any]:
    """Config, net and prior of a checkpoint, whole or `slim`, in float32. Raises InputError."""
    state = read_tensor_file(path)
    if not isinstance(state, dict) or not {"config", "net", "prior"} <= state.keys():
        raise InputError(f"{path}: not a checkpoint of nvc-train fit")
    weights: dict[str, Any] = {name: {k: v.float() for k, v in state[name].items()} for name in ("net", "prior")}
    weights["config"] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["config"].items()}
    return weights


def slim(checkpoint: Path, output: Path) -> None:
    """The weights of a checkpoint alone, in float16: a seventh of the size, enough to start another run from."""
    weights = read_weights(checkpoint)
    halves = {name: {k: v.half() for k, v in weights[name].items()} for name in ("net", "prior")}
    torch.save({"config": weights["config"]} | halves, output)


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """Write beside, then rename: an interrupted save leaves the old checkpoint."""
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(trainer.state(), temporary)
    temporary.replace(path)


def fit(
    source: Path,
    checkpoint: Path,
    settings: FitSettings,
    *,
    config: ImageConfig | None = None,
    device: torch.device | None = None,
    compile_net: bool = False,
    start: Path | None = None,
) -> Iterator[dict[str, float]]:
    """Train on the pictures of `source` until the budget is spent; resumes when `checkpoint` exists.

    A new run begins with the weights of `start`, a checkpoint, else with the KLT of the pictures and random networks.

    Yields one report about every ten seconds: step, seconds, loss, and mean bpp and PSNR of the last batch.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    pictures = read_folder(source)
    coarse = CropSampler(pictures, settings.crop, device)
    fine = CropSampler([halve(p) for p in pictures], settings.crop // 2, device)
    if checkpoint.exists():
        state = read_checkpoint(checkpoint)
        trainer = Trainer(ImageConfig(**state["config"]), settings, device)
        trainer.load(state)
    elif start is not None:
        weights = read_weights(start)
        torch.manual_seed(settings.seed)
        trainer = Trainer(ImageConfig(**weights["config"]), settings, device)
        trainer.net.load_state_dict(weights["net"])
        trainer.prior.load_state_dict(weights["prior"])
    else:
        config = config or ImageConfig()
        torch.manual_seed(settings.seed)
        trainer = Trainer(config, settings, device)
        trainer.start(*klt(pictures, config.latents, BLOCK))
    loss_of = torch.compile(picture_loss) if compile_net else picture_loss
    mark, reported, saved = time.monotonic(), 0.0, trainer.seconds
    average: Tensor | None = None
    while trainer.progress() < 1:
        # Which kind of step is drawn on the CPU: asking the device would stall it.
        if (trainer.step * settings.fine_share) % 1 + settings.fine_share >= 1:
            x = fine(4 * settings.batch, trainer.generator)
            level = torch.randint(FINE_LEVEL, LEVELS, (len(x),), device=device, generator=trainer.generator)
        else:
            x = coarse(settings.batch, trainer.generator)
            level = torch.randint(0, LEVELS, (len(x),), device=device, generator=trainer.generator)
        loss = trainer.train_step(x.contiguous(memory_format=torch.channels_last), level, loss_of)
        total = loss.total.detach()
        average = total if average is None else torch.lerp(average, total, 0.01)
        now = time.monotonic()
        trainer.seconds, mark = trainer.seconds + now - mark, now
        if trainer.seconds - reported >= 10 or trainer.step in (1, 20):
            reported = trainer.seconds
            psnr = float((-10 * loss.mse.detach().clamp_min(1e-9).log10()).mean())
            bpp = float(loss.bpp.detach().mean())
            yield {"step": trainer.step, "seconds": reported, "loss": float(average), "bpp": bpp, "psnr": psnr}
        if trainer.seconds - saved >= settings.save_every:
            saved = trainer.seconds
            save_checkpoint(trainer, checkpoint)
    save_checkpoint(trainer, checkpoint)
