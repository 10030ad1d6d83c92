"""Training of the image codec."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.image import BLOCK, LEVELS, ImageConfig, ImageNet
from nvc.networks.priors import LogisticMixturePrior
from nvc.training.data import CropSampler, halve, klt, read_folder
from nvc.training.losses import Loss, picture_loss
from nvc.training.task import FINE_LEVEL, FitSettings, Sampler

Pictures = list[NDArray[np.uint8]]  # (H, W, 3)


class PictureTask:
    """See nvc.training.task. Data: pictures."""

    codec: ClassVar[str] = "image"
    defaults: ClassVar[dict[str, Any]] = {}
    draws_on_device: ClassVar[bool] = True

    def __init__(self, config: ImageConfig | dict[str, Any] | None = None) -> None:
        if isinstance(config, dict):
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
            config = ImageConfig(**fields)
        self.config = config or ImageConfig()
        self.net = ImageNet(self.config)
        self.prior = LogisticMixturePrior(LEVELS, self.config.latents)
        self.modules: dict[str, nn.Module] = {"net": self.net, "prior": self.prior}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The KLT is nearly right, steps and prior are far off at first."""
        net = self.net
        return [
            ([*net.g_a.parameters(), *net.g_s.parameters()], 1.0),
            ([*net.l_a.parameters(), *net.l_s.parameters()], 0.2),
            ([net.log_step], 8.0),
            (list(self.prior.parameters()), 40.0),
        ]

    @staticmethod
    def read(source: Path, cache: Path | None = None) -> Pictures:
        """Below a folder, or inside a .zip; nothing is worth a cache."""
        return read_folder(source)

    def start(self, data: Pictures) -> None:
        """The KLT, and the spread of its coefficients."""
        basis, deviation = klt(data, self.config.latents, BLOCK)
        self.net.start_from_klt(basis, deviation)
        self.prior.start_from(deviation[None] / self.net.log_step.detach().exp())

    @staticmethod
    def sampler(data: Pictures, settings: FitSettings, device: torch.device) -> Sampler:
        """Pictures (B, 3, crop, crop) in 0..1, and levels (B,)."""
        coarse = CropSampler(data, settings.crop, device)
        fine = CropSampler([halve(p) for p in data], settings.crop // 2, device)

        def draw(finest: bool, generator: torch.Generator) -> tuple[Tensor, ...]:
            x = fine(4 * settings.batch, generator) if finest else coarse(settings.batch, generator)
            first = FINE_LEVEL if finest else 0
            level = torch.randint(first, LEVELS, (len(x),), device=device, generator=generator)
            return x.contiguous(memory_format=torch.channels_last), level

        return draw

    def loss(self, *sample: Tensor) -> Loss:
        """Rate and distortion, see nvc.training.losses."""
        x, level = sample
        return picture_loss(self.net, self.prior, x, level)
