"""The backends of video codecs by codec and kind of decoder that a weight file holds (metadata `codec`, `decoder`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nvc.codec.aivc import AivcBackend
from nvc.codec.lhbdc import LhbdcBackend
from nvc.codec.ssf import SsfBackend
from nvc.codec.ssf_published import PublishedSsfBackend
from nvc.codec.video_backend import VideoBackend
from nvc.errors import InputError

if TYPE_CHECKING:
    from nvc.codec.video_model import VideoModel
    from nvc.networks.video_analysis import VideoAnalysis


def open_backend(model: "VideoModel") -> VideoBackend:
    """KeyError or ValueError for a kind that is unknown, or tensors that are not sound."""
    kinds: dict[tuple[str, str], Callable[[VideoModel], VideoBackend]] = {
        ("ssf", "integer"): _ssf,
        ("ssf", "float"): lambda model: PublishedSsfBackend(model.decoder_tensors(), model.encoder),
        ("lhbdc", "integer"): _lhbdc,
        ("aivc", "integer"): _aivc,
    }
    kind = model.info.codec, model.kind
    if kind not in kinds:
        raise ValueError(f"its decoder is of the kind {model.kind!r}; a newer nvc may read it")
    return kinds[kind](model)


def _ssf(model: "VideoModel") -> VideoBackend:
    def analysis() -> "VideoAnalysis":
        from nvc.networks.ssf import SsfConfig, SsfNet

        return _analysis(model, SsfNet, SsfConfig)

    return SsfBackend(model.decoder_tensors(), analysis)


def _lhbdc(model: "VideoModel") -> VideoBackend:
    def analysis() -> "VideoAnalysis":
        from nvc.networks.lhbdc import LhbdcConfig, LhbdcNet

        return _analysis(model, LhbdcNet, LhbdcConfig)

    return LhbdcBackend(model.decoder_tensors(), analysis)


def _aivc(model: "VideoModel") -> VideoBackend:
    def analysis() -> "VideoAnalysis":
        from nvc.networks.aivc import AivcConfig, AivcNet

        return _analysis(model, AivcNet, AivcConfig)

    return AivcBackend(model.decoder_tensors(), analysis, model.tables)


def _analysis(model: "VideoModel", net: Callable[[Any], Any], config: type) -> "VideoAnalysis":
    from nvc.networks.video_analysis import VideoAnalysis, load_config

    try:
        return VideoAnalysis(net(load_config(config, model.config)), model.encoder())
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:
        reason = str(exc).splitlines()[0]
        raise InputError(f"{model.path}: has no sound analysis, and cannot encode: {reason}") from exc
