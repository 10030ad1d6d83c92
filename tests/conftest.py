"""What tests of several folders share."""

from pathlib import Path

import pytest

from nvc.codec.models import codec_of


@pytest.fixture(scope="session")
def tiny_video_model() -> Path:
    """Weight file of a tiny untrained video model of the codec ssf (tests/golden/make_video_model.py)."""
    return Path(__file__).parent / "data" / "tiny_video.safetensors"


@pytest.fixture(scope="session")
def tiny_context_model() -> Path:
    """The same with contexts for its main symbols (tests/golden/make_context_model.py)."""
    return Path(__file__).parent / "data" / "tiny_contexts.safetensors"


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, str]:
    """A tiny untrained model of each codec that has some, by the codec's name."""
    files = sorted((Path(__file__).parent / "data").glob("tiny_*.safetensors"), reverse=True)
    return {codec_of(str(path)) or "": str(path) for path in files}
