"""The backends of video codecs by the kind of decoder that a weight file holds (metadata `decoder`)."""

from typing import TYPE_CHECKING

from nvc.codec.ssf import SsfBackend
from nvc.codec.ssf_published import PublishedSsfBackend
from nvc.codec.video_backend import VideoBackend

if TYPE_CHECKING:
    from nvc.codec.video_model import VideoModel
    from nvc.networks.ssf_analysis import SsfAnalysis


def open_backend(model: "VideoModel") -> VideoBackend:
    """KeyError or ValueError for a kind that is unknown, or tensors that are not sound."""
    kinds = {("ssf", "integer"): _ssf, ("ssf", "float"): _ssf_published}
    kind = model.info.codec, model.kind
    if kind not in kinds:
        raise ValueError(f"its decoder is of the kind {model.kind!r}; a newer nvc may read it")
    return kinds[kind](model)


def _ssf(model: "VideoModel") -> VideoBackend:
    def analysis() -> "SsfAnalysis":
        from nvc.networks.ssf_analysis import SsfAnalysis, load_config

        return SsfAnalysis(load_config(model.config), model.encoder())

    return SsfBackend(model.decoder_tensors(), analysis)


def _ssf_published(model: "VideoModel") -> VideoBackend:
    return PublishedSsfBackend(model.decoder_tensors(), model.encoder)
