"""The backend of our conditional codec: integer networks, and the encoder's float analysis (FORMAT.md 16)."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.aivc_choices import CODEC, MODE, PLAIN, WIDTHS, Further, in_blocks
from nvc.codec.hierarchy import HierarchicalBackend
from nvc.codec.integer_video import SYMBOL_LIMIT, TablesIfAny, no_tables
from nvc.codec.latents import Content, Latents
from nvc.codec.lhbdc import Pair, flows_and_weight, motion_step
from nvc.codec.predictors import BLOCKS_BITS, Blocks, Prediction
from nvc.codec.transform import Layers, Transform, untrained
from nvc.codec.video_backend import Place, Reference
from nvc.entropy_coding.adaptive import beginning
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.predicted_blocks import Counts
from nvc.frames import Frame420
from nvc.networks.aivc_integer import (
    GREY,
    SHARE_ONE,
    SKIP_LATENT,
    CodecDecoder,
    ModeDecoder,
    add_shared,
    flow_behind,
    skipped,
)
from nvc.networks.blend import blend
from nvc.networks.block_prediction import reconstruct
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.edges import smooth_edges
from nvc.networks.filters import Filter
from nvc.networks.hyper_integer import MEAN_ONE
from nvc.networks.integer import space_to_depth
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.overlap import predict_overlapped
from nvc.networks.planes import pad_planes
from nvc.networks.ssf_integer import Information, predict
from nvc.networks.steps import STEP_ONE, QualityCode
from nvc.networks.transform import add_transformed
from nvc.networks.warp import grid_shape

if TYPE_CHECKING:
    from nvc.codec.aivc_analysis import Seen
    from nvc.codec.aivc_layers import Said
    from nvc.entropy_coding.adaptive import Chances
    from nvc.networks.video_analysis import VideoAnalysis


class AivcBackend(HierarchicalBackend):
    """See nvc.codec.video_backend.VideoBackend.

    Where the weight file has `fineness`, a transform or `filters`, there are further choices: how finely motion is
    coded, see `latent_quality`; which layers stand behind a mode; which filter predicts. Where it has predictors, I
    frames have a choice too: predicted blocks, or latents.
    """

    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]] = {
        kind: (MODE[kind], name) if kind in MODE else (name,) for kind, name in CODEC.items()
    }
    kinds: ClassVar[Mapping[str, type[BlockDecoder]]] = {
        **dict.fromkeys(CODEC.values(), CodecDecoder), **dict.fromkeys(MODE.values(), ModeDecoder),
    }  # fmt: skip

    refines: ClassVar[bool] = True
    written: ClassVar[Mapping[str, NDArray[Any]]] = {
        "compensation": np.ones(1, np.uint8), "fineness": np.ones(1, np.uint8), "filters": np.ones(1, np.uint8),
        **untrained(np.outer(LAMBDAS, (0.75, 0.5))).tensors(),
    }  # fmt: skip
    anchors: Sequence[int] = (8, 5, 5, 5, 5, 5)  # -0.4 % in groups against ANCHORS, where motion is refined
    # Contexts tell much of what side latents tell: training, which does without, makes them too dear.
    shrinkage: ClassVar[Mapping[str, float]] = {
        "codec_i": 0.3, "codec_p": 1.0, "codec_b": 1.0, "mode_p": 0.2, "mode_b": 0.2,
    }  # fmt: skip
    # Worth of errors in rounding against what it is in training, by frame type: those of I frames are passed on.
    rounding: Mapping[FrameType, float] = MappingProxyType({FrameType.I: 5.0, FrameType.P: 1.3, FrameType.B: 1.3})

    sweeps: Mapping[FrameType, int] = MappingProxyType({FrameType.I: 3})  # -0.8 % in groups, -0.6 % of P frames alone

    def __init__(
        self, tensors: dict[str, NDArray[Any]], analysis: Callable[[], "VideoAnalysis"], tables: TablesIfAny = no_tables
    ) -> None:
        """See IntegerVideoBackend."""
        super().__init__(tensors, analysis, tables)
        self._overlapped, fine, filters = (_flag(tensors, name) for name in ("compensation", "fineness", "filters"))
        if filters and not self._overlapped:
            raise ValueError("its filters are without predictions that overlap")
        self._transform, self._alone = Transform.of(tensors), False
        there = {"fineness": fine, "layers": self._transform is not None, "filter": filters}
        self._further = Further(tuple(name for name in WIDTHS if there[name]))
        self.choice_bits = {kind: (*self.choice_bits[kind], *self._further.widths) for kind in MODE}
        self._prediction, self._blocks = Prediction.of(tensors), True
        if self._prediction:
            self.choice_bits |= {FrameType.I: (BLOCKS_BITS,)}

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code if kind == FrameType.I else super().frame_quality(kind, choices, quality_code)

    def latent_quality(self, information: str, choices: Sequence[int], quality_code: int) -> QualityCode:
        """See VideoBackend."""
        if "fineness" not in self._further.names or information not in MODE.values():
            return quality_code
        fineness = self._further.of("fineness", choices)
        return finer(len(self._parts[information].decoder.linear), quality_code, fineness)

    def sent(self, kind: FrameType, choices: Sequence[int]) -> tuple[str, ...]:
        """See VideoBackend."""
        if self._further.layers(kind, choices) == Layers.COEFFICIENTS:
            return (MODE[kind],)
        if in_blocks(kind, choices):
            return ()
        return self.informations[kind]

    @property
    def predictors(self) -> Counts:
        """See VideoBackend."""
        return self._prediction.counts if self._prediction else super().predictors

    def chances(self, kind: FrameType, choices: Sequence[int], level: int) -> NDArray[np.uint16] | None:
        """See VideoBackend."""
        if self._prediction and in_blocks(kind, choices):
            return self._prediction.chances[level - 1]
        layers = self._further.layers(kind, choices)
        return self._transform.chances[kind] if self._transform and layers != Layers.LATENTS else None

    def quick(self) -> "AivcBackend":
        """See VideoBackend: without what looks at tables, and without latents behind modes where that may be."""
        made = super().quick()
        assert isinstance(made, AivcBackend)
        made._alone = made._transform is not None
        return made

    def networks_alone(self) -> "AivcBackend":
        """See VideoBackend."""
        made = copy.copy(self)
        made._blocks = False
        return made

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: QualityCode, shape: tuple[int, int, int],
        before: Mapping[str, Latents] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:  # fmt: skip
        """See VideoBackend: both are 0 where the mode says that nothing is coded."""
        index, mean = super().parameters(information, z, quality_code, shape)
        if not before:
            return index, mean
        assert isinstance(quality_code, int)  # as that of what is coded behind a mode is
        nothing = self._skipped(before, quality_code, shape[1:])
        index[:, nothing], mean[:, nothing] = 0, 0
        return index, mean

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        from nvc.codec.aivc_analysis import behind, between  # they load OpenCV and torch

        if place.kind == FrameType.I:
            if self._prediction and self._blocks:
                return self._encode_blocks(frame, self._prediction, quality_code)
            choices: tuple[int, ...] = (Blocks.LATENTS,) if self._prediction else ()
            return self._encode_behind(frame, place, quality_code, quality_code, {}, choices)
        drop, name = self._drop(place), MODE[place.kind]
        code = self.frame_quality(place.kind, (drop,), quality_code)
        step = motion_step(self._parts[name], code)  # the coarsest: that of PLAIN costs 0.2 % in groups
        kind = Filter.EIGHT if "filter" in self._further.names else Filter.FOUR  # by which motion is searched
        if place.kind == FrameType.P:
            found: Seen = behind(frame, place.references[0].frame, code, self._overlapped, kind)
        else:
            found = between(frame, Pair.of(place), code, step, self._overlapped, kind)
        choices = (drop,) if place.kind == FrameType.P else (drop, found.start)
        tables = self._tables_at(name, quality_code)
        mode, choices = self._said(found, place, choices, code, tables)
        return self._encode_behind(frame, place, code, quality_code, {name: mode}, choices, found.trials.steady)

    def _encode_blocks(self, frame: Frame420, prediction: Prediction, code: int) -> tuple[Content, Reference]:
        from nvc.codec.aivc_layers import squared_error
        from nvc.codec.lhbdc_analysis import squared_error_worth  # it loads torch
        from nvc.codec.prediction_choice import BLOCK_WORTH, choose

        chances = beginning(prediction.chances[min(code // STEP_ONE, self.levels - 1)])
        made, decoded, _ = choose(frame, prediction, code, BLOCK_WORTH * squared_error_worth(code), chances)
        smoothed = smooth_edges(decoded, made.whole, prediction.log_step, code)
        if squared_error(frame, smoothed) < squared_error(frame, decoded):
            return Content({}, (Blocks.SMOOTHED,), made), Reference(smoothed)
        return Content({}, (Blocks.PREDICTED,), made), Reference(decoded)

    def _said(
        self, found: "Seen", place: Place, choices: tuple[int, ...], code: int, tables: HyperpriorTables | None
    ) -> tuple[Latents, tuple[int, ...]]:
        """The mode, and all choices; that of layers is made later. choices: those before. code: of the frame."""
        from nvc.codec.aivc_mode import ModeSearch, finenesses  # they load OpenCV and torch
        from nvc.codec.lhbdc_analysis import Price

        name = MODE[place.kind]
        y = self._analysis.motion(found.numbers, found.errors, name)
        search, tried = None, [PLAIN]
        if tables is not None:
            worth, around = Price.at(code, 1.0).lagrangian, partial(self._around, name)
            search = ModeSearch(self._parts[name], found, tables, worth, self._overlapped, around)
            if "fineness" in self._further.names:
                tried = list(finenesses(place))
        start = self._further.choosing((*choices, *[0] * len(self._further.names)), filter=found.trials.kind)
        ways: list[tuple[float, Latents, tuple[int, ...]]] = []
        for fineness in tried:
            way = self._further.choosing(start, fineness=fineness)
            latent_code, cost = self.latent_quality(name, way, code), 0.0
            mode = self._quantise(name, y, latent_code)
            if search is not None:
                mode = search(mode, latent_code)
                cost = search.cost(mode, latent_code) if len(tried) > 1 else 0.0
            ways.append((cost, mode, way))
        _, mode, choices = min(ways, key=lambda way: way[0])
        if search is not None and "filter" in self._further.names:
            choices = self._further.choosing(
                choices, filter=search.filter(mode, self.latent_quality(name, choices, code))
            )
        return mode, choices

    def _around(self, name: str, symbols: NDArray[np.int32], mean: NDArray[np.int16], code: QualityCode) -> Latents:
        """See nvc.codec.aivc_mode.ModeSearch."""
        scaled = symbols + mean / np.float32(MEAN_ONE)
        z = self._analysis.side(name, scaled, self.shrinkage[name]).clip(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        m, h, w = symbols.shape
        index, seen = self.parameters(name, z, code, (m, h, w))
        symbols = symbols + np.rint((mean.astype(np.int32) - seen) / MEAN_ONE).astype(np.int32)
        return Latents(z, symbols, index, seen)

    def _encode_behind(
        self, frame: Frame420, place: Place, code: int, quality_code: int, mode: dict[str, Latents],
        choices: tuple[int, ...], steady: NDArray[np.int16] | None = None,
    ) -> tuple[Content, Reference]:  # fmt: skip
        """What comes behind the mode, if the frame has one.

        code, quality_code: of the frame, of the file; steady: see `_steady`, which a mode needs.
        """
        from nvc.codec.aivc_layers import LayerChoice
        from nvc.codec.lhbdc_analysis import squared_error_worth  # it loads torch
        from nvc.codec.motion_moves import is_large

        name, tables = CODEC[place.kind], self._tables_at(CODEC[place.kind], quality_code)
        prediction, share = self._predict(mode, place, choices, code, steady, frame.height, frame.width)
        if not self._transform or place.kind == FrameType.I or (tables is None and not self._alone):
            coded, reference = self._latents_behind(frame, place, code, quality_code, mode, prediction, share)
            if self._further.names and place.kind in MODE:
                reference = replace(reference, state=self._saying(place.kind, choices, None))
            return Content({**mode, name: coded}, choices), reference
        choice = LayerChoice(self._transform, frame, place, code, squared_error_worth(code))
        large = is_large(frame.y)
        if self._alone or tables is None or (large and place.kind == FrameType.B):
            behind = choice.alone(prediction)
        else:
            coded, reference = self._latents_behind(frame, place, code, quality_code, mode, prediction, share)
            behind = choice.best(prediction, coded, reference, tables, not large)
        latents = mode if behind.latents is None else {**mode, name: behind.latents}
        reference = replace(behind.decoded, state=self._saying(place.kind, choices, behind.chances))
        return Content(latents, self._further.choosing(choices, layers=behind.layers), behind.coefficients), reference

    def _saying(self, kind: FrameType, choices: Sequence[int], chances: "Chances | None") -> "Said":
        """For the frames that will refer to this one."""
        from nvc.codec.aivc_layers import Said

        return Said(kind, self._further.of("fineness", choices), chances)

    def _latents_behind(
        self, frame: Frame420, place: Place, code: int, quality_code: int, mode: dict[str, Latents],
        prediction: Frame420, share: NDArray[np.uint8],
    ) -> tuple[Latents, Reference]:  # fmt: skip
        """What a prediction lacks, as latents, and the frame that they make."""
        from nvc.codec.lhbdc_analysis import squared_error_worth  # they load torch
        from nvc.codec.residual_rounding import Refinement

        name = CODEC[place.kind]
        known = pad_planes(prediction)
        y = self._analysis.conditional(pad_planes(frame), known, name)
        y[:, self._skipped(mode, code, y.shape[1:])] = 0
        worth = self.rounding[place.kind] * squared_error_worth(code)
        coded = self._quantise(name, y, code, mode, worth)

        samples = self._parts[name].again(code, space_to_depth(known))

        def decoded(latents: Latents) -> Reference:
            return Reference(add_shared(prediction, samples(latents.symbols, latents.mean), share))

        reference, tables = decoded(coded), self._tables_at(name, quality_code)
        if worth and tables is not None:
            sweeps = self.sweeps.get(place.kind, 1)
            refinement = Refinement(self._parts[name], tables, code, frame, share, decoded, worth, sweeps)
            coded, reference = refinement(coded, reference)
        return coded, reference

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        code = self.frame_quality(place.kind, content.choices, quality_code)
        if self._prediction and in_blocks(place.kind, content.choices):
            made, log_step = content.coefficients, self._prediction.log_step
            assert made is not None
            decoded = reconstruct(made, self._prediction.predictors, log_step, code)
            if content.choices[0] == Blocks.SMOOTHED:
                decoded = smooth_edges(decoded, made.whole, log_step, code)
            return Reference(decoded)
        steady = self._steady(place, content.choices, height, width)
        prediction, share = self._predict(content.latents, place, content.choices, code, steady, height, width)
        name, reference = CODEC[place.kind], Reference(prediction)
        if name in content.latents:
            reference = self._add(content.latents[name], prediction, share, code, name)
        if content.coefficients is not None:
            assert self._transform is not None
            log_step = self._transform.log_step
            reference = Reference(add_transformed(reference.frame, content.coefficients, log_step, code))
        return reference

    def _skipped(self, before: Mapping[str, Latents], code: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(h, w) where the mode, if there is one among these latents, says that nothing is coded."""
        nothing = np.zeros(shape, np.bool_)
        for name, mode in before.items():
            nothing |= skipped(mode.symbols, mode.mean, self._parts[name].decoder.log_step, code)
        return nothing

    @staticmethod
    def _steady(place: Place, choices: tuple[int, ...], height: int, width: int) -> NDArray[np.int16]:
        """Flows (4, 2h, 2w) to both references that decoders know; of other frames 0."""
        if place.kind == FrameType.B:
            return Pair.of(place).steady(choices[1])
        return np.zeros((4, *grid_shape(height, width)), np.int16)

    def _predict(
        self, latents: Mapping[str, Latents], place: Place, choices: tuple[int, ...], code: int,
        steady: NDArray[np.int16] | None, height: int, width: int,
    ) -> tuple[Frame420, NDArray[np.uint8]]:  # fmt: skip
        """The prediction, and the share of what is coded that counts, (2h, 2w) in 1/64."""
        grid = grid_shape(height, width)
        if place.kind == FrameType.I:
            return _grey(height, width), np.full(grid, SHARE_ONE, np.uint8)
        assert steady is not None
        name = MODE[place.kind]
        numbers = numbers_of(self._parts[name], latents[name], self.latent_quality(name, choices, code), steady)
        share = np.clip(SHARE_ONE + ((numbers[5] + 1) >> 1), 0, SHARE_ONE).astype(np.uint8)
        if place.kind == FrameType.P:
            return self._warped(place.references[0], flow_behind(numbers), choices), share
        flows, weight = flows_and_weight(numbers, steady)
        before, behind = (self._warped(place.references[i], flows[2 * i : 2 * i + 2], choices) for i in range(2))
        return blend(before, behind, weight), share

    def _warped(self, reference: Reference, flow: NDArray[np.int16], choices: Sequence[int]) -> Frame420:
        if self._overlapped:
            return predict_overlapped(reference.frame, flow, self._further.filter(choices))
        return predict(reference.frame, flow, np.zeros(flow.shape[1:], np.uint8))

    def _add(self, latents: Latents, prediction: Frame420, share: NDArray[np.uint8], code: int, name: str) -> Reference:
        given = space_to_depth(pad_planes(prediction))
        samples = self._parts[name].samples(latents.symbols, latents.mean, code, residual=True, given=given)
        return Reference(add_shared(prediction, samples, share))


def numbers_of(part: Information, mode: Latents, code: QualityCode, steady: NDArray[np.int16]) -> NDArray[np.int32]:
    """What a mode says of every cell, (6, 2h, 2w). steady: flows that decoders know, (4, 2h, 2w)."""
    given = space_to_depth(steady.transpose(1, 2, 0))
    return part.samples(mode.symbols, mode.mean, code, residual=True, given=given).astype(np.int32).transpose(2, 0, 1)


def finer(latents: int, quality_code: int, fineness: int) -> NDArray[np.int64]:
    """(latents,) what the tables of a mode are read at. quality_code: of the frame."""
    codes = np.full(latents, quality_code, np.int64)
    codes[:SKIP_LATENT] += STEP_ONE * fineness
    return codes


def _flag(tensors: dict[str, NDArray[Any]], name: str) -> bool:
    value = tensors.get(name, np.zeros(1, np.uint8))
    if value.shape != (1,) or value.dtype != np.uint8 or value[0] > 1:
        raise ValueError(f"its {name} is of no kind known here; a newer nvc may read it")
    return bool(value[0])


def _grey(height: int, width: int) -> Frame420:
    half = -(-height // 2), -(-width // 2)
    return Frame420(*(np.full(shape, GREY, np.uint8) for shape in ((height, width), half, half)))
