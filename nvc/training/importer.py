"""A state dict of compressai's FactorizedPriorReLU to a weight file (`nvc-train import`). compressai is not needed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from nvc.codec.models import Tensors, context_tensors, model_id
from nvc.codec.weight_files import serialize
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.context import MAGNITUDES, NEAR, ContextModel
from nvc.errors import InputError
from nvc.networks.image import ImageConfig
from nvc.networks.image_float import LAYERS, FloatDecoder
from nvc.training.bottleneck import FactorisedDensity, stored_tables
from nvc.training.checkpoints import read_tensor_file

WRAPPERS = ("state_dict", "network", "model_state_dict")  # keys under which training scripts keep the state dict
DENSITY = "entropy_bottleneck."


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; only tensors are unpickled. Raises InputError."""
    state = read_tensor_file(path)
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise InputError(f"{path}: not a state dict")
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def config_of(state: dict[str, Tensor]) -> ImageConfig:
    """The widths, from the shapes. Raises ValueError unless the tensors are an auto-encoder of this kind."""
    if any(name.startswith(("g_a.1.", "g_s.1.")) for name in state):
        raise ValueError("has GDN layers; only the ReLU model (FactorizedPriorReLU) can be imported")
    if any(name.startswith("h_a.") for name in state):
        raise ValueError("has a hyperprior; only the factorised model (FactorizedPriorReLU) can be imported")
    if any(name.startswith("motion_hyperprior.") for name in state):
        raise ValueError("is a ScaleSpaceFlow: nvc-train import ssf2020 takes it")
    widths = {}
    for part, axis in (("g_a", 0), ("g_s", 1)):
        names = [f"{part}.{2 * i}.weight" for i in range(LAYERS)]
        if missing := [name for name in names if name not in state or state[name].ndim != 4]:
            raise ValueError(f"holds no {missing[0]} of four dimensions, as FactorizedPriorReLU has")
        widths[part] = [int(state[name].shape[axis]) for name in names]
    a, s = widths["g_a"], widths["g_s"]
    return ImageConfig(a[3], (a[0], a[1], a[2]), (s[0], s[1], s[2]), linear=False)


def plain_model(tables: TableSet) -> ContextModel:
    """One table for each channel, no contexts, no activation bits, coded in the order of the channels."""
    c = len(tables)
    nothing = np.zeros((c, 0), np.int32)
    return ContextModel(
        order=np.arange(c), mode=np.zeros(c), predict=np.zeros((c, NEAR)), quantiser=np.zeros((c, MAGNITUDES)),
        near=np.zeros((c, NEAR)), source=nothing, weight=nothing, threshold=nothing, activation=None, symbols=tables,
    )  # fmt: skip


def weight_file(state: dict[str, Tensor], name: str) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a weight file. Raises ValueError or KeyError unless it is a FactorizedPriorReLU.

    Tables that the state dict brings along are taken as they are, else they are made as compressai makes them.
    """
    config = config_of(state)
    inside = {n.removeprefix(DENSITY): value for n, value in state.items() if n.startswith(DENSITY)}
    density = FactorisedDensity.from_state(inside)
    tables = stored_tables(inside) or density.tables()
    if len(tables) != config.latents:
        raise ValueError(f"its tables are for {len(tables)} channels, its networks have {config.latents}")
    if tables.offset.min() < -32768 or tables.offset.max() > 32767:
        raise ValueError("a table begins further from the median than 16 bits tell")
    synthesis = {n: value.float().numpy() for n, value in state.items() if n.startswith("g_s.")}
    decoder = FloatDecoder.from_tensors(synthesis | {"median": density.quantiles[:, 1].numpy()})
    tensors: Tensors = {f"decoder.{n}": np.ascontiguousarray(value) for n, value in decoder.tensors().items()}
    tensors |= {f"tables.1.{n}": value for n, value in context_tensors(plain_model(tables)).items()}
    tensors |= analysis_tensors(state, config)
    metadata = {
        "codec": "image",
        "decoder": "float",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(config)),
    }
    return tensors, metadata


def analysis_tensors(state: dict[str, Tensor], config: ImageConfig) -> Tensors:
    """The analysis under the names of a weight file. ValueError where its layers do not fit together."""
    tensors: Tensors = {}
    inputs = 3
    for i, outputs in enumerate((*config.analysis, config.latents)):
        for part, shape in (("weight", (outputs, inputs, 5, 5)), ("bias", (outputs,))):
            value = state[f"g_a.{2 * i}.{part}"].float()
            if value.shape != shape or not value.isfinite().all():
                raise ValueError(f"g_a.{2 * i}.{part} is not of finite numbers in the shape {shape}")
            tensors[f"encoder.g_a.{2 * i}.{part}"] = value.contiguous().numpy()
        inputs = outputs
    return tensors


def import_state_dict(path: Path, name: str) -> tuple[bytes, str]:
    """A checkpoint as the bytes of a weight file, and its model id. Raises InputError."""
    try:
        tensors, metadata = weight_file(read_state_dict(path), name)
    except KeyError as exc:
        raise InputError(f"{path}: holds no {exc.args[0]}, as FactorizedPriorReLU has") from exc
    except ValueError as exc:
        raise InputError(f"{path}: {exc}") from exc
    return serialize(tensors, metadata), metadata["id"]
