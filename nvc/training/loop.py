"""The training loop: bf16, resumable, paced by a budget of minutes so that a run always ends annealed."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nvc.errors import InputError
from nvc.training import checkpoints
from nvc.training.kinds import TASKS, codec_of, settings_for
from nvc.training.losses import Loss
from nvc.training.task import Composed, FitSettings, Task

__all__ = ["FitSettings", "Trainer", "codec_of", "fit", "settings_for"]


class Trainer:
    """Task, optimiser and clock; everything that a checkpoint must hold."""

    def __init__(self, task: Task, settings: FitSettings, device: torch.device) -> None:
        self.task, self.settings, self.device = task, settings, device
        for module in task.modules.values():
            module.to(device)
        task.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self._groups(), betas=(0.9, 0.99))
        place = device if task.draws_on_device else torch.device("cpu")
        self.generator = torch.Generator(place).manual_seed(settings.seed)
        self.step = 0
        self.seconds = 0.0

    def _groups(self) -> list[dict[str, Any]]:
        rate = self.settings.rate
        return [{"params": p, "lr": rate * scale, "base": rate * scale} for p, scale in self.task.groups()]

    def progress(self) -> float:
        """0..1, the larger of the shares of minutes and of steps."""
        return min(1.0, max(self.seconds / (60 * self.settings.minutes), self.step / self.settings.steps))

    def finest(self) -> bool:
        """Whether the next step is one of halved sources; known without asking the device, which would stall it."""
        share = self.settings.fine_share
        return (self.step * share) % 1 + share >= 1

    def train_step(self, sample: tuple[Tensor, ...], loss_of: Callable[..., Loss]) -> Loss:
        """One update. Returns the loss still on the device: reading it would stall a GPU."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup)
        factor = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = loss_of(*sample)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        nn.utils.clip_grad_norm_(self.task.net.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        return loss

    def state(self) -> dict[str, Any]:
        """A checkpoint: tensors and plain numbers only, so that it loads with weights_only."""
        return {
            "codec": self.task.codec,
            "config": asdict(self.task.config),
            "settings": asdict(self.settings),
            **{name: module.state_dict() for name, module in self.task.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "noise": _noise_state(self.device),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken; the budget and rates are those of this trainer's settings."""
        for name, module in self.task.modules.items():
            module.load_state_dict(state[name])
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


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """The whole state of a run."""
    checkpoints.save(trainer.state(), path)


def task_of(weights: dict[str, Any], path: Path) -> Task:
    """The task with weights as `checkpoints.read_weights` gives them. InputError if they do not fit its networks."""
    try:
        task = TASKS[weights["codec"]](weights["config"])
        for name, module in task.modules.items():
            module.load_state_dict(weights[name])
    except (KeyError, TypeError, RuntimeError, AttributeError) as exc:  # of the config, and of load_state_dict
        raise InputError(f"{path}: its weights do not fit the networks of this version: {exc}") from exc
    return task


def _begin(
    codec: str, data: Any, checkpoint: Path, settings: FitSettings, config: Any, device: torch.device,
    starts: Sequence[Path],
) -> Trainer:  # fmt: skip
    """A trainer resumed from its checkpoint where that exists, else a new one."""
    if checkpoint.exists():
        state = checkpoints.read_checkpoint(checkpoint)
        _same_codec(codec, state["codec"], checkpoint)
        trainer = Trainer(task_of(state, checkpoint), settings, device)
        trainer.load(state)
        return trainer
    torch.manual_seed(settings.seed)
    given = [(path, checkpoints.read_weights(path)) for path in starts]
    task = TASKS[codec](config)
    donors = task.donors if isinstance(task, Composed) else ()
    if isinstance(task, Composed) and given and all(weights["codec"] in donors for _, weights in given):
        task.start_from(data, {weights["codec"]: task_of(weights, path).net for path, weights in given})
        return Trainer(task, settings, device)
    if len(given) > 1:
        raise InputError(f"{given[1][0]}: {codec} starts from one file{_of(donors)}")
    for path, weights in given:
        if codec == weights["codec"] or "image" in (codec, weights["codec"]):
            _same_codec(codec, weights["codec"], path)
            return Trainer(task_of(weights, path), settings, device)
    task.start(data)
    for path, weights in given:
        adopt(task, weights, path)
    return Trainer(task, settings, device)


def _of(donors: Sequence[str]) -> str:
    return f", or from one of each of {', '.join(donors)}" if donors else ""


def adopt(task: Task, weights: dict[str, Any], path: Path) -> list[str]:
    """Take the networks of another video codec that have the same name and widths: those of I frames, of P frames.

    weights: as `checkpoints.read_weights` gives them. Returns the names. InputError where none fits.
    """
    own, theirs = (json.loads(json.dumps(config)) for config in (asdict(task.config), weights["config"]))
    names = [name for name in own if own[name] == theirs.get(name)]
    if not names:
        raise InputError(f"{path}: none of its networks is of the widths that {task.codec} has")
    state = {n: value for n, value in weights["net"].items() if n.split(".")[0] in names}
    task.net.load_state_dict(task.net.state_dict() | state)
    return names


def _same_codec(wanted: str, found: str, path: Path) -> None:
    if wanted != found:
        raise InputError(f"{path}: of the codec {found}, but the training data is for {wanted}")


def fit(
    source: Path,
    checkpoint: Path,
    settings: FitSettings,
    *,
    codec: str = "image",
    config: Any = None,
    device: torch.device | None = None,
    compile_net: bool = False,
    start: Path | Sequence[Path] | None = None,
    cache: Path | None = None,
) -> Iterator[dict[str, float]]:
    """Train on the pictures or clips of `source` until the budget is spent; resumes when `checkpoint` exists.

    A new run begins with the weights of `start` (see `checkpoints.read_weights`; several where the codec is made of
    networks of others), else with the KLT of the data and random networks. codec: see `codec_of`; cache: see
    `Task.read`.

    Yields one report about every ten seconds: step, seconds, loss, and mean bpp and PSNR of the last batch.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    data = TASKS[codec].read(source, cache)
    sample = TASKS[codec].sampler(data, settings, device)
    starts = [start] if isinstance(start, Path) else list(start or ())
    trainer = _begin(codec, data, checkpoint, settings, config, device, starts)
    del data  # the sampler has its own, on the device
    loss_of = torch.compile(trainer.task.loss) if compile_net else trainer.task.loss
    mark, reported, saved = time.monotonic(), 0.0, trainer.seconds
    average: Tensor | None = None
    while trainer.progress() < 1:
        loss = trainer.train_step(sample(trainer.finest(), trainer.generator), loss_of)
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
