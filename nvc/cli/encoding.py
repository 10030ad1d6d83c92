"""What nvc-encode is asked for, and which of it fits which kind of input."""

from dataclasses import dataclass
from fractions import Fraction

from nvc.bitstream.header import Kind
from nvc.cli.files import is_pattern, printable
from nvc.cli.kinds import first_bytes, kind_of_content, kind_of_source
from nvc.cli.output import Existing
from nvc.codec.catalogue import CATALOGUE, Entry, for_video
from nvc.errors import UsageError

# Of nvc.codec.gop and nvc.bitstream.video_reader, written out because those modules load numpy.
INTRA_PERIOD = 32
MAX_FRAMES = 1 << 20

VIDEO_OPTIONS = (
    *("bitrate", "gop", "fixed_gop", "closed_gop", "intra_period", "latency", "start", "frames", "max_frames"),
    *("fps", "size", "pix_fmt", "reparam"),
)
PICTURE_OPTIONS = ("rdoq", "first_frame")


@dataclass(frozen=True)
class Order:
    """What is wanted of every input; sent to worker processes. Options that were not given are None (switches False).

    quality: None where one of the targets is given (at most one is)
    verify:  None for the usual of the kind
    size:    width, height of headerless YUV
    """

    quality: float | None = None
    target_size: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    bitrate: float | None = None
    codec: str = "auto"
    model: str | None = None
    rdoq: int | None = None
    metadata: str = "all"
    alpha: str = "keep"
    audio: str = "copy"
    strict: bool = False
    first_frame: bool = False
    verify: bool | None = None
    md5: bool = False
    max_pixels: int = 1 << 28
    max_frames: int | None = None  # MAX_FRAMES
    gop: int | None = None
    fixed_gop: bool = False
    closed_gop: bool = False
    intra_period: int | None = None  # INTRA_PERIOD
    latency: str | None = None
    reparam: bool | None = None
    start: int | None = None
    frames: int | None = None
    fps: Fraction | None = None
    size: tuple[int, int] | None = None
    pix_fmt: str | None = None
    threads: int | None = None
    existing: Existing = Existing.REFUSE

    @property
    def has_target(self) -> bool:
        """Whether the quality is to be searched."""
        targets = (self.target_size, self.target_bpp, self.target_psnr, self.bitrate)
        return any(target is not None for target in targets)

    def kind_of(self, source: str, name: str, head: bytes | None = None) -> Kind | None:
        """What an input is; None for a pipe that has not been read. head: its first bytes, where they have been.

        Raises UsageError where something was asked for that this kind of input has not. name: of the input.
        """
        of_video = self.size is not None or (self.codec != "auto" and CATALOGUE[self.codec].kind == "video")
        kind = kind_of_source(source, head, Kind.VIDEO if of_video else Kind.PICTURE)
        if kind is not None:
            self._check(kind, name)
        if self.size is not None and kind is not None:
            stated = is_pattern(source) or kind_of_content(first_bytes(source) if head is None else head) is not None
            if stated:
                raise UsageError(f"--size: for headerless YUV only, and {printable(name)} says its size itself")
        return kind

    def _check(self, kind: Kind, name: str) -> None:
        what = {Kind.PICTURE: "a picture", Kind.VIDEO: "video"}[kind]
        other = {Kind.PICTURE: "video", Kind.VIDEO: "pictures"}[kind]
        for option in VIDEO_OPTIONS if kind == Kind.PICTURE else PICTURE_OPTIONS:
            if getattr(self, option) not in (None, False) or (option == "reparam" and self.reparam is False):
                raise UsageError(f"--{option.replace('_', '-')}: for {other} only, and {printable(name)} is {what}")
        if self.codec != "auto" and CATALOGUE[self.codec].kind != kind.name.lower():
            raise UsageError(f"--codec: {self.codec} codes {other}, and {printable(name)} is {what}")

    def entry(self) -> Entry:
        """The codec for video: as asked for, else that of the model, else what suits the order of frames best."""
        if self.codec != "auto":
            return CATALOGUE[self.codec]
        if self.model is not None:
            from nvc.codec.models import codec_of  # here: it loads numpy

            named = CATALOGUE.get(codec_of(self.model) or "")
            if named is not None and named.kind == "video":
                return named
        usual = next(entry for entry in CATALOGUE.values() if entry.kind == "video")
        return for_video(self.gop, self._period, self.latency == "low", self.closed_gop) or usual

    @property
    def _period(self) -> int:
        return INTRA_PERIOD if self.intra_period is None else self.intra_period

    def check_structure(self) -> None:
        """Raise UsageError where the order of frames that is asked for is none of the codec's, or of any."""
        entry = self.entry()
        if self.pix_fmt is not None and self.size is None:
            raise UsageError("--pix-fmt: for headerless YUV only, and that needs --size too")
        gop = self.gop_size
        if self.latency == "low" and self.gop is None and gop > 1:
            raise UsageError(f"--latency low: the codec {entry.name} codes groups of {min(entry.gops)} frames and more")
        if gop not in entry.gops:
            allowed = ", ".join(map(str, entry.gops))
            raise UsageError(f"--gop {gop}: the codec {entry.name} has GOPs of {allowed} only")
        if self.latency == "low" and gop > 1:
            raise UsageError(f"--latency low: frames are coded in the order of display, which --gop {gop} is not")
        if self._period % gop and not self.closed_gop:
            raise UsageError(f"--intra-period {self._period}: no multiple of the GOP of {gop}; --closed-gop takes any")

    @property
    def gop_size(self) -> int:
        """Frames of a GOP: as asked for, else the codec's usual number."""
        if self.gop is not None:
            return self.gop
        entry, closed = self.entry(), self.closed_gop
        low = entry.gop_for(self._period, self.latency == "low", closed)
        return low or entry.gop_for(self._period, closed=closed) or min(entry.gops)
