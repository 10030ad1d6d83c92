"""Latents of a frame to one rANS stream and back, with tables re-parameterised where that pays (paper 1).

    choices │ for every information, in order:   masks, parameters │ z │ masks, parameters │ y   │ coefficients

What the frame before replaced is remembered per information and part, from one beginning to the next (`Beginnings`),
and so are the chances of coefficients, per frame type.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.codec.video_backend import VideoBackend
from nvc.coefficients import Coefficients
from nvc.entropy_coding.adaptive import Chances, beginning
from nvc.entropy_coding.coder import Coder, Decoder, Encoder, Estimator
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models import coefficients, predicted_blocks
from nvc.entropy_models.families import COARSE_BITS, CODE_BITS, code_count, is_coarse
from nvc.entropy_models.hyperprior import HyperpriorTables, code_main, code_side
from nvc.entropy_models.main_context import MainContext
from nvc.entropy_models.reparameterized import Plan, State, code, replaced_tables
from nvc.entropy_models.reparameterized_fit import ALONE, BEFORE_OTHERS, choose
from nvc.networks.ssf_integer import main_shape
from nvc.networks.steps import QualityCode
from nvc.threads import spread

TablesOf = Callable[[str, int], HyperpriorTables]  # by information and level 1..8
PARTS = ("side", "main")
# Bits expected to be saved, beyond those of parameters (which are counted for less than they are, see BEFORE_OTHERS),
# from which on a stream without re-parameterisation is not made to compare with.
CERTAIN = 256.0
Key = tuple[str, str]  # information, part


@dataclass(frozen=True)
class Payload:
    """A coded frame. bits: if they were asked for, by (information, "masks" | "parameters" | "side" | "main"), and
    ("frame", "choices"), ("frame", "coefficients") where the frame has such.
    """

    data: bytes
    reparameterised: bool
    bits: dict[tuple[str, str], float] = field(default_factory=dict)


class Beginnings:
    """Where what frames before have replaced is forgotten: at I frames and at the anchor behind each, for a decoder may
    leave out the B frames between them; and where tables are of another level."""

    def __init__(self) -> None:
        self._level, self._behind_intra = 0, False

    def at(self, kind: FrameType, level: int) -> bool:
        """Whether the next frame in coding order is one; level: of its tables."""
        anchor = kind != FrameType.B
        anew = kind == FrameType.I or level != self._level or (anchor and self._behind_intra)
        self._level = level
        if anchor:
            self._behind_intra = kind == FrameType.I
        return anew


class FrameCoder:
    """Codes the frames of one file in coding order; one for the encoder, one for the decoder."""

    def __init__(self, backend: VideoBackend, tables: TablesOf, reparameterise: bool = True) -> None:
        self._backend, self._tables, self._reparameterise = backend, tables, reparameterise
        self._states: dict[Key, State] = {}
        self._chances: dict[FrameType, Chances] = {}
        self._level = 0
        self._beginnings = Beginnings()

    @property
    def learnt(self) -> Mapping[FrameType, Chances]:
        """Chances of coefficients behind the last frame that had some, by its type."""
        return self._chances

    def begin(self, kind: FrameType, level: int) -> None:
        """Forget what frames before replaced, and what their bits were, where this one may not use it."""
        if self._beginnings.at(kind, level):
            self._states, self._chances = {}, {}
        self._level = level

    def encode(self, kind: FrameType, content: Content, level: int, account: bool = False) -> Payload:
        """The shorter of the two streams, with and without re-parameterisation. level: of the tables, 1..8.

        account: also count the bits of each part.
        """
        self.begin(kind, level)
        names, latents = self._backend.sent(kind, content.choices), content.latents
        ways: list[dict[Key, Plan] | None] = [None]
        if self._reparameterise:
            found = {key: plan for name in names for key, plan in self._choose(kind, name, latents[name]).items()}
            saved = sum(plan.saved for plan in found.values())
            sent = sum(parameter_bits(self._state(key).part.family, plan) for key, plan in found.items())
            if saved > sent + CERTAIN:
                ways = [found]
            elif saved > 0:
                ways.append(found)
        coded, chances = [b""] * len(ways), [self._beginning(kind, content.choices) for _ in ways]

        def code_one(which: int) -> None:
            encoder = Encoder()
            self._code_choices(encoder, kind, content.choices)
            for name in names:
                self._code(encoder, name, latents[name], ways[which])
            self._code_coefficients(encoder, kind, content.coefficients, chances[which])
            coded[which] = encoder.finish()

        for name in names:
            for part in PARTS:
                self._state((name, part))  # made here, not by two threads at once
        if len(ways) > 1:
            spread(code_one, range(len(ways)))
        else:
            code_one(0)  # with all threads for itself
        best = min(range(len(ways)), key=lambda which: len(coded[which]))
        payload, plans = Payload(coded[best], ways[best] is not None), ways[best]
        if account:
            bits: dict[tuple[str, str], float] = dict(self._choice_bits(kind))
            for name in names:
                self._code(Estimator(), name, latents[name], plans, bits)
            if content.coefficients is not None:
                estimator = Estimator()
                self._code_coefficients(estimator, kind, content.coefficients, self._beginning(kind, content.choices))
                bits["frame", "coefficients"] = estimator.bits
            payload = Payload(payload.data, payload.reparameterised, bits)
        self._update(names, plans)
        learnt = chances[best]
        if learnt is not None:
            self._chances[kind] = learnt
        return payload

    def plan(self, information: str, part: str) -> Plan:
        """What the frame coded last replaced of the part "side" or "main"."""
        return self._state((information, part)).previous

    def cost(self, kind: FrameType, content: Content, level: int) -> float:
        """Bits with the learned tables of a level, and the chances of the beginning."""
        estimator = Estimator()
        for name in self._backend.sent(kind, content.choices):
            tables = self._tables(name, level)
            latents = content.latents[name]
            code_side(estimator, tables.side, latents.z)
            code_main(estimator, tables.main, latents.index, latents.symbols, tables.context)
        chances = self._backend.chances(kind, content.choices, level)
        self._code_coefficients(estimator, kind, content.coefficients, None if chances is None else beginning(chances))
        return estimator.bits

    def decode(
        self, kind: FrameType, data: bytes, reparameterised: bool, level: int, quality_code: int, size: tuple[int, int],
        bits: dict[tuple[str, str], float] | None = None,
    ) -> Content:  # fmt: skip
        """Content of a payload. size: height, width. bits: filled in as `Payload.bits`, if given. BadStream."""
        self.begin(kind, level)
        decoder = Decoder(data)
        plans: dict[Key, Plan] | None = {} if reparameterised else None
        choices = self._code_choices(decoder, kind, None)
        names = self._backend.sent(kind, choices)
        if bits is not None:
            bits |= self._choice_bits(kind)
        quality_code = self._backend.frame_quality(kind, choices, quality_code)
        latents: dict[str, Latents] = {}
        for name in names:
            quality = self._backend.latent_quality(name, choices, quality_code)
            latents[name] = self._decode(decoder, name, plans, quality, size, latents, {} if bits is None else bits)
        before, chances, found = decoder.bits, self._beginning(kind, choices), None
        if chances is not None:
            found = self._coefficients(decoder, kind, size, chances)
            self._chances[kind] = chances
            if bits is not None:
                bits["frame", "coefficients"] = decoder.bits - before
        decoder.finish()
        self._update(names, plans)
        return Content(latents, choices, found)

    def _beginning(self, kind: FrameType, choices: tuple[int, ...]) -> Chances | None:
        """Chances of the coefficients of the next frame, its own; None where it has none."""
        chances = self._backend.chances(kind, choices, self._level)
        if chances is None:
            return None
        return self._chances[kind].copy() if kind in self._chances else beginning(chances)

    def _code_coefficients(
        self, coder: Coder, kind: FrameType, known: Coefficients | None, chances: Chances | None
    ) -> None:
        if (known is None) != (chances is None):
            raise ValueError("the choices of a frame say of its coefficients what is not so")
        if known is not None and chances is not None:
            self._coefficients(coder, kind, known, chances)

    def _coefficients(
        self, coder: Coder, kind: FrameType, known: Coefficients | tuple[int, int], chances: Chances
    ) -> Coefficients:
        """known: height and width for the Decoder."""
        if kind == FrameType.I:
            return predicted_blocks.code(coder, known, chances, self._backend.predictors)
        return coefficients.code(coder, main_shape(*known) if isinstance(known, tuple) else known, chances)

    def _code_choices(self, coder: Coder, kind: FrameType, choices: tuple[int, ...] | None) -> tuple[int, ...]:
        widths = self._backend.choice_bits.get(kind, ())
        values = [[0]] * len(widths) if choices is None else [[choice] for choice in choices]
        return tuple(int(coder.code_bits(v, width)[0]) for v, width in zip(values, widths, strict=True))

    def _choice_bits(self, kind: FrameType) -> dict[tuple[str, str], float]:
        widths = self._backend.choice_bits.get(kind, ())
        return {("frame", "choices"): float(sum(widths))} if widths else {}

    def _context(self, name: str) -> MainContext | None:
        return self._tables(name, self._level).context

    def _state(self, key: Key) -> State:
        if key not in self._states:
            tables = self._tables(key[0], self._level)
            self._states[key] = State(tables.side_part if key[1] == "side" else tables.main_part)
        return self._states[key]

    def _choose(self, kind: FrameType, name: str, latents: Latents) -> dict[Key, Plan]:
        options = ALONE if kind == FrameType.I else BEFORE_OTHERS
        side, main = (self._state((name, part)) for part in PARTS)
        channels = np.arange(len(latents.z))[:, None, None]
        values, rows = self._tables(name, self._level).main_values(latents.index, latents.symbols)
        return {
            (name, "side"): choose(side.part, latents.z, channels, side, options),
            (name, "main"): choose(main.part, values, rows, main, options),
        }

    def _update(self, names: tuple[str, ...], plans: dict[Key, Plan] | None) -> None:
        for name in names:
            for part in PARTS:
                self._state((name, part)).update(None if plans is None else plans[name, part])

    def _part(
        self, coder: Coder, key: Key, plans: dict[Key, Plan] | None, bits: dict[tuple[str, str], float]
    ) -> TableSet:
        """Code masks and parameters of a part; returns its tables for this frame."""
        state = self._state(key)
        if plans is None:
            return state.part.tables
        before = coder.bits if bits is not _UNCOUNTED else 0.0
        plan = plans[key] = code(coder, state.part, plans.get(key), state)
        if bits is not _UNCOUNTED:
            parameters = float(parameter_bits(state.part.family, plan))
            name = key[0]
            bits[name, "parameters"] = bits.get((name, "parameters"), 0.0) + parameters
            bits[name, "masks"] = bits.get((name, "masks"), 0.0) + coder.bits - before - parameters
        return replaced_tables(state.part, plan)

    def _code(
        self, coder: Coder, name: str, latents: Latents, plans: dict[Key, Plan] | None,
        bits: dict[tuple[str, str], float] | None = None,
    ) -> None:  # fmt: skip
        counted = _UNCOUNTED if bits is None else bits
        tables = self._part(coder, (name, "side"), plans, counted)
        before = coder.bits if bits is not None else 0.0
        code_side(coder, tables, latents.z)
        if bits is not None:
            bits[name, "side"] = coder.bits - before
        tables = self._part(coder, (name, "main"), plans, counted)
        before = coder.bits if bits is not None else 0.0
        code_main(coder, tables, latents.index, latents.symbols, self._context(name))
        if bits is not None:
            bits[name, "main"] = coder.bits - before

    def _decode(
        self, decoder: Decoder, name: str, plans: dict[Key, Plan] | None, quality: QualityCode, size: tuple[int, int],
        earlier: dict[str, Latents], bits: dict[tuple[str, str], float],
    ) -> Latents:  # fmt: skip
        shapes = self._backend.shapes(name, *size)
        tables = self._part(decoder, (name, "side"), plans, bits)
        before = decoder.bits
        z = code_side(decoder, tables, shapes.side)
        bits[name, "side"] = decoder.bits - before
        index, mean = self._backend.parameters(name, z, quality, shapes.main, earlier)
        tables = self._part(decoder, (name, "main"), plans, bits)
        before = decoder.bits
        symbols = code_main(decoder, tables, index, context=self._context(name))
        bits[name, "main"] = decoder.bits - before
        return Latents(z, symbols, index, mean)


def parameter_bits(family: int, plan: Plan) -> int:
    """Bits of the codes that a plan sends, without those that say their form."""
    total = 0
    for components, codes in zip(plan.components[plan.reused == 0], plan.codes[plan.reused == 0], strict=True):
        count = code_count(family, int(components)) if components else 0
        total += count * (COARSE_BITS if is_coarse(codes, count) else CODE_BITS)
    return total


_UNCOUNTED: dict[tuple[str, str], float] = {}  # stands for "do not count"
