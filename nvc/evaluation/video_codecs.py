"""The video codecs of the catalogue as measurements see them."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvc.errors import UsageError
from nvc.evaluation.clips import Clip
from nvc.evaluation.codecs import OptionsInName
from nvc.frames import Frame420

if TYPE_CHECKING:
    from nvc.codec.gop import Gop


@dataclass(frozen=True)
class NvcVideo(OptionsInName):
    """A codec by its name in the catalogue, through the encoder and decoder that the commands use.

    intra: frames from I to I with scene cuts off, 0 = only where the scene changes
    gop: frames from anchor to anchor, 0 = the codec's usual number; fixed: 1 = so many everywhere, 0 = at most
    closed: 1 = no frame refers to an I frame that is shown after it, and `intra` need not be a multiple of `gop`
    reparam: 0 leaves all tables as learned. blocks: 0 makes no I frame of predicted blocks
    model: name or path of a weight file, empty = the default
    Settings are qualities, 1.0..8.0.
    """

    base: str = ""
    intra: int = 32
    gop: int = 0
    fixed: int = 0
    closed: int = 0
    reparam: int = 1
    blocks: int = 1
    model: str = ""
    medium = "video"

    def __post_init__(self) -> None:
        for name in ("fixed", "closed", "reparam", "blocks"):
            if getattr(self, name) not in (0, 1):
                raise UsageError(f"{name} is 0 or 1")
        try:
            self._gop()
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def group(self) -> int:
        """Frames from anchor to anchor: as asked for, else the first of the codec's sizes that fits `intra`."""
        from nvc.codec.catalogue import CATALOGUE

        entry = CATALOGUE[self.base]
        return self.gop or entry.gop_for(self.intra, closed=bool(self.closed)) or min(entry.gops)

    @property
    def ends_open(self) -> bool:
        """Whether the last frames of an intra period refer to the I frame that begins the next."""
        return self.group > 1 and not self.closed

    def _gop(self) -> "Gop":
        from nvc.codec.gop import Gop

        return Gop(self.group, self.intra, bool(self.closed))

    @property
    def ladder(self) -> tuple[float, ...]:
        from nvc.codec.video_model import load

        return tuple(float(level) for level in range(1, load(self.model or None, self.base).backend.levels + 1))

    def version(self) -> str:
        from nvc.version import __version__

        return f"nvc {__version__}"

    def encode(self, clip: Clip, setting: float) -> bytes:
        """A whole .nvc file without audio."""
        from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings
        from nvc.codec.video_model import load

        settings = SequenceSettings(
            self._gop(),
            bool(self.reparam),
            scene_cuts=not self.intra,
            adaptive=not self.fixed,
            blocks=bool(self.blocks),
        )
        stream = io.BytesIO()
        encoder = SequenceEncoder(stream, load(self.model or None, self.base), clip.info, setting, settings)
        for frame, time in zip(clip.frames, clip.times, strict=True):
            for _ in encoder.push(frame, time):
                pass
        for _ in encoder.finish():
            pass
        return stream.getvalue()

    def decode(self, data: bytes) -> list[Frame420]:
        """Frames in display order, each checked against its checksum."""
        from nvc.bitstream.video_frame import VideoFrame
        from nvc.bitstream.video_reader import VideoReader
        from nvc.codec.sequence_decoder import SequenceDecoder
        from nvc.codec.video_model import by_id

        reader = VideoReader(io.BytesIO(data))
        decoder = SequenceDecoder(reader.header, by_id(reader.header.model_id, self.base, self.model or None))
        decoded = [decoder.frame(part) for part in reader if isinstance(part, VideoFrame)]
        return [frame.frame for frame in sorted(decoded, key=lambda frame: frame.display)]

    def model_id(self, data: bytes) -> str:
        from nvc.bitstream.video_reader import VideoReader

        return VideoReader(io.BytesIO(data)).header.model_id.hex()
