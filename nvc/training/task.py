"""What the training loop needs to know of a codec: networks, how fast each part learns, samples, loss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nvc.training.losses import Loss

FINE_LEVEL = 6  # levels from here on (index; 7 and 8 by name) also train on sources of half the size, see data.halve


@dataclass
class FitSettings:
    """`minutes` is the whole budget, over all resumed parts; the learning rate follows a cosine of time spent.

    The defaults are those of pictures; `Task.defaults` has those of other codecs.
    """

    minutes: float
    steps: int = 10**9
    batch: int = 4
    crop: int = 256  # pixels
    rate: float = 2e-4  # of the networks: at 6e-4 their ReLUs die within minutes (docs/training.md)
    warmup: int = 300
    fine_share: float = 0.2  # of the steps, on halved sources at the finest levels
    seed: int = 1
    save_every: float = 120.0  # seconds


# One batch: called with "halved sources at the finest levels?" and the generator of places in the sources.
Sampler = Callable[[bool, torch.Generator], tuple[Tensor, ...]]


class Task(Protocol):
    """A codec in training. `modules` are kept in checkpoints by their names, `net` is the one whose gradient is cut.

    draws_on_device: whether the sampler's generator lives on the device (else on the CPU).
    """

    codec: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]
    draws_on_device: ClassVar[bool]
    config: Any
    net: Any  # an nn.Module
    modules: dict[str, nn.Module]

    def __init__(self, config: Any = None) -> None:
        """config: widths, or as `dataclasses.asdict` gave them; None: the defaults. Weights are random."""

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters, with their learning rate relative to the networks'."""

    @staticmethod
    def read(source: Path, cache: Path | None = None) -> Any:
        """The training data, in main memory. cache: a file that keeps what was computed of it. Raises InputError."""

    def start(self, data: Any) -> None:
        """From structure, not from noise: linear paths and rates as the data suggest. On the CPU."""

    @staticmethod
    def sampler(data: Any, settings: FitSettings, device: torch.device) -> Sampler:
        """Batches on the device, as arguments of `loss`. Nothing of it waits for the device."""

    def loss(self, *sample: Tensor) -> Loss:
        """What is minimised."""


@runtime_checkable
class Composed(Protocol):
    """A task that can start with networks of other codecs. donors: their names."""

    donors: ClassVar[tuple[str, ...]]

    def start_from(self, data: Any, others: dict[str, Any]) -> None:
        """`Task.start`, with these networks in place of some. others: nets, by the names of donors."""
