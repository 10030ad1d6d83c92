"""Streams of the past: they must decode for ever, or be refused with the same line for ever."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nvc.errors
from nvc.bitstream.container import read_picture_file
from nvc.codec.models import ImageModel, model_id, read_tensors
from nvc.codec.picture import decode_picture

HERE = Path(__file__).parent
WEIGHTS = HERE / "tiny.safetensors"
LISTING: dict[str, Any] = json.loads((HERE / "golden.json").read_text())


def _digest(array: Any) -> str | None:
    return None if array is None else hashlib.sha256(array.tobytes()).hexdigest()


def test_nothing_is_left_out() -> None:
    assert {p.stem for p in HERE.glob("*.nvc")} == set(LISTING["good"])
    assert {p.stem for p in (HERE / "bad").glob("*.nvc")} == set(LISTING["bad"])
    assert len(LISTING["good"]) >= 10
    assert len(LISTING["bad"]) >= 40


def test_model_id_comes_from_the_tensors() -> None:
    assert model_id(read_tensors(WEIGHTS, "")).hex() == LISTING["model"] == ImageModel(WEIGHTS).info.id


@pytest.mark.parametrize("name", LISTING["good"])
def test_decodes(name: str) -> None:
    expected = LISTING["good"][name]
    picture = decode_picture((HERE / f"{name}.nvc").read_bytes(), model=str(WEIGHTS))
    assert picture.pixels.dtype == np.uint8
    assert list(picture.pixels.shape) == expected["shape"]
    assert _digest(picture.pixels) == expected["pixels"]
    assert _digest(picture.alpha) == expected["alpha"]


def test_metadata_is_kept() -> None:
    metadata = decode_picture((HERE / "whole.nvc").read_bytes(), model=str(WEIGHTS)).metadata
    assert (metadata.icc, metadata.cicp) == (b"profile " * 9, bytes([1, 13, 0, 1]))
    assert (metadata.exif, metadata.xmp) == (b"II*\0" + bytes(12), b"<x/>")


def test_what_they_cover() -> None:
    """Every level's tables, of all three kinds, both table sets, grey, the ends of the quality scale."""
    headers = [read_picture_file((HERE / f"{name}.nvc").read_bytes()).header for name in LISTING["good"]]
    assert {h.table_set for h in headers} == {0, 1}
    assert {h.grey for h in headers} == {False, True}
    assert {h.quality_code for h in headers} >= {0, 28671, 28672}
    assert {h.table_level for h in headers} >= {1, 2, 4, 7, 8}
    model = ImageModel(WEIGHTS)
    assert model.tables(7).activation is None
    assert model.tables(8).source.shape == (8, 1)
    assert model.tables(1).predict.any()


@pytest.mark.parametrize("engine", ["numpy", "float32", "float64"])
def test_every_engine_agrees(engine: str, tmp_path: Path) -> None:
    """In a process of its own; that of the referee must not load torch."""
    code = (
        "import hashlib, json, sys; from pathlib import Path; from nvc.codec.picture import decode_picture\n"
        f"here = Path({str(HERE)!r})\n"
        "names = sorted(p.stem for p in here.glob('*.nvc'))\n"
        "pictures = [decode_picture((here / f'{n}.nvc').read_bytes(), model=str(here / 'tiny.safetensors'))"
        " for n in names]\n"
        "found = {n: hashlib.sha256(p.pixels.tobytes()).hexdigest() for n, p in zip(names, pictures)}\n"
        "print(json.dumps([found, 'torch' in sys.modules]))"
    )
    root = str(HERE.parents[1])
    environment = os.environ | {"NVC_ENGINE": engine, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found, torch_loaded = json.loads(done.stdout)
    assert found == {name: value["pixels"] for name, value in LISTING["good"].items()}
    assert torch_loaded == (engine != "numpy")


@pytest.mark.parametrize("name", LISTING["bad"])
def test_is_refused(name: str) -> None:
    kind, message = LISTING["bad"][name]
    with pytest.raises(nvc.errors.NvcError) as refused:
        decode_picture((HERE / "bad" / f"{name}.nvc").read_bytes(), model=str(WEIGHTS))
    assert type(refused.value) is getattr(nvc.errors, kind)
    assert str(refused.value) == message
    assert "\n" not in message
    assert kind in ("BadStream", "UnknownModel", "LimitError")
