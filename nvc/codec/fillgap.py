"""A picture's latents with tables re-parameterised for it (FillGap), for `nvc-eval ablation`.

These are an experiment's files, which only this module reads; nvc writes and reads none of them elsewhere:

    0 │ a picture file                                       nothing is replaced
    1 │ a picture file whose payload is of another kind      masks and codes of the replaced tables, then the latents

The first byte is all that the experiment may cost. Every table that has a replacement is a candidate, in coding order,
which takes no arithmetic to agree on: fewer candidates save less (docs/image_codec.md).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import Frame, PictureFile, read_picture_file, write_picture_file
from nvc.codec import models
from nvc.codec.picture import decode_symbols, payload_of
from nvc.entropy_coding.coder import Decoder, Encoder
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.entropy_models.families import MIXTURE, replaceable
from nvc.entropy_models.reparameterized import Candidates, Plan, State, code, replaced_tables
from nvc.entropy_models.reparameterized_fit import choose
from nvc.errors import BadStream
from nvc.networks.image_integer import BLOCK

PLAIN, REPLACED = b"\0", b"\1"


def pack(data: bytes, kind: str = "tables", model: str | None = None) -> bytes:
    """The experiment's file of a picture file, at most one byte longer.

    kind: the context model of the weight file that codes the latents, as in EncodeSettings; model: name or path, where
    it is not an installed one. Ancillary boxes that nvc does not know are left out. BadStream, UnknownModel.
    """
    file = read_picture_file(data)
    weights = models.by_id(file.header.model_id, model)
    tables = weights.tables(file.header.table_level, kind)
    symbols = decode_symbols(file, weights, kind).astype(np.int32)
    part = candidates(tables)
    payload = _payload(part, tables, symbols, plan_of(part, tables, symbols))
    if len(payload) >= len(file.frame.payload):
        return PLAIN + data
    return REPLACED + _with_payload(file, payload)


def unpack(data: bytes, kind: str = "tables", model: str | None = None) -> bytes:
    """The picture file that was packed. BadStream for what `pack` does not write, UnknownModel."""
    flag, inner = data[:1], data[1:]
    if flag == PLAIN:
        return inner
    if flag != REPLACED:
        raise BadStream("not a file of the FillGap experiment; it begins with a byte 0 or 1")
    file = read_picture_file(inner)
    header = file.header
    tables = models.by_id(header.model_id, model).tables(header.table_level, kind)
    part = candidates(tables)
    decoder = Decoder(file.frame.payload)
    plan = code(decoder, part, None, State(part))
    shape = (tables.channels, -(-header.height // BLOCK), -(-header.width // BLOCK))
    symbols = context.code(decoder, replace(tables, symbols=replaced_tables(part, plan)), shape)
    decoder.finish()
    return _with_payload(file, payload_of(tables, symbols.astype(np.int32)))


def candidates(tables: ContextModel) -> Candidates:
    """The rows of a context model that a picture may replace: those of each channel together, in coding order."""
    rows = (tables.order[:, None].astype(np.int64) * tables.contexts + np.arange(tables.contexts)).reshape(-1)
    return Candidates(tables.symbols, rows[replaceable(tables.symbols, rows, MIXTURE)], MIXTURE)


def plan_of(part: Candidates, tables: ContextModel, symbols: NDArray[np.int32]) -> Plan:
    """What to replace for (C, h, w) latents. What channels without activity hold is not coded, so it does not count."""
    deviation, rows = context.contexts(tables, symbols)
    if tables.activation is not None:
        active = context.activity(tables, symbols) != 0
        deviation, rows = deviation[active], rows[active]
    return choose(part, deviation, rows, State(part))


def _payload(part: Candidates, tables: ContextModel, symbols: NDArray[np.int32], plan: Plan) -> bytes:
    encoder = Encoder()
    code(encoder, part, plan, State(part))
    context.code(encoder, replace(tables, symbols=replaced_tables(part, plan)), symbols)
    return encoder.finish()


def _with_payload(file: PictureFile, payload: bytes) -> bytes:
    return write_picture_file(
        file.header, Frame(payload, file.frame.checksum, file.frame.type), alpha=file.alpha, icc=file.icc,
        cicp=file.cicp, exif=file.exif, xmp=file.xmp,
    )  # fmt: skip
