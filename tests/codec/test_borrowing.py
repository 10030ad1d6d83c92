"""Weight files that have tensors of a base: the same as the whole file, and one line where that cannot be."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from PIL import Image

import nvc
from nvc.codec import models, video_model, weight_files
from nvc.codec.borrowing import WholeFile, write
from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.video_model import VideoModel
from nvc.codec.weight_files import TensorFile
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.training.export import set_psnr

DATA = Path(__file__).parents[1] / "data"
CONTEXTS, LHBDC = DATA / "tiny_contexts.safetensors", DATA / "tiny_lhbdc.safetensors"
VIDEO = DATA / "tiny_video.safetensors"
VIDEO_ID = "4b5aab23"
FORMS = [".safetensors", ".safetensors.gz"]


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of installed models, empty; it is read anew each time."""
    folder = tmp_path_factory.mktemp("installed")
    monkeypatch.setattr(models, "folders", lambda: [folder])
    monkeypatch.setattr(models, "installed", models.installed.__wrapped__)
    return folder


def copy(source: Path, target: Path) -> Path:
    """A weight file again, in the form that the name tells."""
    target.write_bytes(weight_files.pack(source.read_bytes(), target))
    return target


def thin_of(whole: Path, target: Path, base: Path) -> Path:
    write(target, read_tensors(whole, ""), TensorFile(whole).metadata, base)
    return target


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return copy(VIDEO, tmp_path / "base.safetensors")


@pytest.fixture
def thin(tmp_path: Path, base: Path) -> Path:
    """The tiny model with contexts, of which most is that of the model without."""
    return thin_of(CONTEXTS, tmp_path / "thin.safetensors", base)


def intra_of(whole: Path, target: Path) -> Path:
    """The tiny model of codec ssf with the I frames of another one."""
    shared = {name: value for name, value in read_tensors(whole, "").items() if ".intra." in name}
    tensors = {n: v for n, v in read_tensors(VIDEO, "").items() if ".intra." not in n} | shared
    weight_files.write(target, tensors, TensorFile(VIDEO).metadata | {"id": model_id(tensors).hex(), "name": "base"})
    return target


def restate(path: Path, **changes: str | None) -> Path:
    """Other metadata with the same tensors; None leaves a key out."""
    file = TensorFile(path)
    metadata = {key: value for key, value in {**file.metadata, **changes}.items() if value is not None}
    weight_files.write(path, file.tensors(), metadata)
    return path


def same(a: Tensors, b: Tensors) -> bool:
    """Names, types, shapes, bits."""
    return a.keys() == b.keys() and all(
        (a[n].dtype, a[n].shape, a[n].tobytes()) == (b[n].dtype, b[n].shape, b[n].tobytes()) for n in a
    )


def refused(make: Callable[[], Any], path: Path, *parts: str) -> None:
    """One line that begins with the file."""
    with pytest.raises(InputError) as error:
        make()
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


class TestReading:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("form_of_base", FORMS)
    def test_is_the_whole_file(self, form: str, form_of_base: str, tmp_path: Path) -> None:
        base = copy(VIDEO, tmp_path / f"base{form_of_base}")
        thin = thin_of(CONTEXTS, tmp_path / f"thin{form}", base)
        assert thin.stat().st_size < 0.7 * copy(CONTEXTS, tmp_path / f"whole{form}").stat().st_size
        model, whole = VideoModel(thin), VideoModel(CONTEXTS)
        assert (model.id, model.config, model.kind, model.quality(None)) == (whole.id, whole.config, whole.kind, 4)
        assert same(model.encoder(), whole.encoder())
        for prefix in ("", "decoder.", "decoder.intra.", "tables.motion.3.", "nothing."):
            assert same(model.tensors(prefix), read_tensors(CONTEXTS, prefix))
            assert same(read_tensors(thin, prefix), read_tensors(CONTEXTS, prefix))

    @pytest.mark.parametrize("form", FORMS)
    def test_tensors_are_the_callers_own(self, form: str, tmp_path: Path) -> None:
        thin = thin_of(CONTEXTS, tmp_path / "thin.safetensors", copy(VIDEO, tmp_path / f"base{form}"))
        model = VideoModel(thin)
        for value in model.tensors("decoder.").values():
            value[...] = 1
        assert same(model.tensors("decoder."), read_tensors(CONTEXTS, "decoder."))

    def test_no_more_of_the_base_than_is_asked_for(
        self, thin: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[str] = []
        real = safetensors.safe_open

        class Watched:
            def __init__(self, path: Path, **options: Any) -> None:
                self.path, self.opened = path, real(path, **options)

            def __enter__(self) -> "Watched":
                self.file = self.opened.__enter__()
                return self

            def __exit__(self, *error: Any) -> None:
                self.opened.__exit__(*error)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def get_tensor(self, name: str) -> Any:
                if Path(self.path).name == base.name:
                    read.append(name)
                return self.file.get_tensor(name)

        monkeypatch.setattr(safetensors, "safe_open", Watched)
        file = WholeFile(thin, models.folders)
        borrowed = {name for name in file.borrowed if name.startswith("decoder.motion.")}
        assert 0 < len(borrowed) < len(file.borrowed)
        file.tensors("decoder.motion.")
        assert set(read) == borrowed

    def test_lists_and_finding_need_no_base(self, thin: Path, base: Path, installed: Path) -> None:
        base.unlink()
        path = thin.rename(installed / thin.name)
        assert [info.name for info in models.installed()] == ["tiny-contexts"]
        assert models.find("tiny-contexts", "ssf") == models.find(None, "ssf") == path
        assert models.find_id(bytes.fromhex(TensorFile(path).metadata["id"]), "ssf") == path
        assert models.codec_of(str(path)) == "ssf"

    def test_label_keeps_it_thin(self, thin: Path) -> None:
        before = TensorFile(thin)
        tensors, metadata = before.tensors(), before.metadata
        set_psnr(thin, tuple(range(30, 38)))
        after = TensorFile(thin)
        assert same(after.tensors(), tensors)
        assert after.metadata == metadata | {"psnr": json.dumps(list(range(30, 38)))}
        assert VideoModel(thin).info.psnr_range == tuple(range(30, 38))


class TestCoding:
    """What one of the two coded, the other decodes: to the same samples."""

    def frames(self) -> list[Frame420]:
        photo = np.asarray(Image.open(DATA / "stair.png").convert("YCbCr"))
        windows = [photo[i : i + 33, 2 * i : 2 * i + 47] for i in range(5)]
        return [Frame420(w[:, :, 0].copy(), w[::2, ::2, 1].copy(), w[::2, ::2, 2].copy()) for w in windows]

    def md5(self, data: bytes, model: str | None) -> str:
        planes = [plane for frame in nvc.decode_frames(io.BytesIO(data), model=model) for plane in frame.planes]
        assert len(planes) == 15
        return hashlib.md5(b"".join(plane.tobytes() for plane in planes)).hexdigest()

    @pytest.mark.parametrize("whole", [CONTEXTS, LHBDC], ids=lambda path: path.stem)
    def test_the_same(self, whole: Path, tmp_path: Path, installed: Path) -> None:
        base = intra_of(whole, tmp_path / "base.safetensors")
        thin = thin_of(whole, tmp_path / "thin.safetensors", base)
        assert {n for n in read_tensors(whole, "") if ".intra." in n} <= WholeFile(thin, models.folders).borrowed
        coded = []
        for path in (whole, thin):
            stream = io.BytesIO()
            nvc.encode_frames(self.frames(), stream, 6, fps=25, model=str(path))
            coded.append(stream.getvalue())
        assert coded[0] == coded[1]
        digests = {self.md5(data, str(path)) for data, path in zip(coded, (thin, whole), strict=True)}
        for path in (base, thin):
            path.rename(installed / path.name)
        assert len(digests | {self.md5(coded[0], None)}) == 1


class TestFindingTheBase:
    def test_missing(self, thin: Path, base: Path, installed: Path) -> None:
        base.unlink()
        needs = f"needs the weight file with the id {VIDEO_ID} beside it"
        for make in (lambda: VideoModel(thin), lambda: video_model.load(str(thin)), lambda: read_tensors(thin, "")):
            refused(make, thin, needs, f"none in {thin.parent}, {installed}")

    def test_a_relative_path(self, thin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert VideoModel(Path(thin.name)).id == VideoModel(CONTEXTS).id
        (tmp_path / "base.safetensors").unlink()
        refused(lambda: VideoModel(Path(thin.name)), Path(thin.name), f"none in {tmp_path}, ")

    def test_installed(self, thin: Path, base: Path, installed: Path) -> None:
        base.rename(installed / base.name)
        assert VideoModel(thin).id == VideoModel(CONTEXTS).id

    def test_beside_it_comes_first(self, thin: Path, base: Path, installed: Path) -> None:
        bent = {name: value ^ 1 for name, value in read_tensors(VIDEO, "").items() if value.dtype.kind in "iu"}
        weight_files.write(installed / "a.safetensors", bent, TensorFile(VIDEO).metadata)
        assert VideoModel(thin).id == VideoModel(CONTEXTS).id

    def test_whatever_else_lies_there(self, thin: Path, base: Path) -> None:
        folder = thin.parent
        (folder / "a.safetensors").write_bytes(b"noise")
        (folder / "b.safetensors.gz").write_bytes(b"\x1f\x8b\x08noise")
        (folder / "c.safetensors").mkdir()
        (folder / "d.safetensors").symlink_to(folder / "none")
        weight_files.write(folder / "e.safetensors", {"x": np.zeros(1)}, {"id": "of another make"})
        assert VideoModel(thin).id == VideoModel(CONTEXTS).id

    def test_a_whole_one_before_one_with_a_base(self, thin: Path, base: Path) -> None:
        """Only the analysis differs: the id is that of the base, and it is not taken for it."""
        tensors = read_tensors(VIDEO, "")
        name = next(name for name in tensors if name.startswith("encoder."))
        tensors[name] = tensors[name] + 1
        for other in ("a.safetensors", "z.safetensors"):
            write(thin.parent / other, tensors, TensorFile(VIDEO).metadata, base)
            assert VideoModel(thin.parent / other).id.hex() == VIDEO_ID
        assert VideoModel(thin).id == VideoModel(CONTEXTS).id
        base.unlink()
        (thin.parent / "z.safetensors").unlink()
        refused(lambda: VideoModel(thin), thin, "not a sound weight file: its base", "a.safetensors has a base itself")
        alone = thin.parent / "a.safetensors"
        refused(lambda: VideoModel(alone), alone, f"needs the weight file with the id {VIDEO_ID} beside it")


class TestUnsound:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"base": None}, "base and borrowed come together"),
            ({"borrowed": None}, "base and borrowed come together"),
            ({"base": ""}, "8 hexadecimal digits, not ''"),
            ({"base": "4B5AAB23"}, "8 hexadecimal digits, not '4B5AAB23'"),
            ({"base": "4b5aab2"}, "8 hexadecimal digits, not '4b5aab2'"),
            ({"base": "4b5aab23\n"}, r"8 hexadecimal digits, not '4b5aab23\n'"),
            ({"borrowed": ""}, "not an array of names"),
            ({"borrowed": "["}, "not an array of names"),
            ({"borrowed": "[" * 100_000}, "not an array of names"),
            ({"borrowed": "null"}, "not an array of names"),
            ({"borrowed": '"decoder.intra.scale"'}, "not an array of names"),
            ({"borrowed": '{"decoder.intra.scale": 1}'}, "not an array of names"),
            ({"borrowed": '["decoder.intra.scale", 1]'}, "not an array of names"),
            ({"borrowed": '[["decoder.intra.scale"]]'}, "not an array of names"),
            ({"borrowed": "[]"}, "nothing, or a tensor twice"),
            ({"borrowed": '["decoder.intra.scale", "decoder.intra.scale"]'}, "nothing, or a tensor twice"),
            ({"borrowed": '["decoder.intra.none"]'}, "base.safetensors lacks 'decoder.intra.none'"),
            ({"borrowed": r'["decoder.intra.\n\ud800"]'}, r"base.safetensors lacks 'decoder.intra.\n\ud800'"),
        ],
    )
    @pytest.mark.parametrize("form", FORMS)
    def test_metadata(self, changes: dict[str, str | None], reason: str, form: str, thin: Path, tmp_path: Path) -> None:
        path = copy(restate(thin, **changes), tmp_path / f"changed{form}")
        for make in (lambda: VideoModel(path), lambda: read_tensors(path, "decoder.")):
            refused(make, path, "not a sound weight file: ", reason)

    def test_both_in_it_and_borrowed(self, thin: Path) -> None:
        [own, *_] = sorted(TensorFile(thin).tensors())
        names = [own, *json.loads(TensorFile(thin).metadata["borrowed"])]
        restate(thin, borrowed=json.dumps(names))
        refused(lambda: VideoModel(thin), thin, "not a sound weight file: ", f"it has {own!r} and borrows it too")

    def test_other_content_under_the_same_id(self, thin: Path, base: Path) -> None:
        tensors = read_tensors(VIDEO, "")
        tensors["decoder.intra.scale"][0] ^= 1
        weight_files.write(base, tensors, TensorFile(VIDEO).metadata)
        refused(lambda: VideoModel(thin), thin, "damaged: its tensors have the id ", f"some are those of {base}")

    def test_base_that_is_cut(self, tmp_path: Path) -> None:
        """Of a compressed one the head still tells its id; a plain one is no weight file any more."""
        base = copy(VIDEO, tmp_path / "base.safetensors.gz")
        thin = thin_of(CONTEXTS, tmp_path / "thin.safetensors", base)
        base.write_bytes(base.read_bytes()[:-1])
        refused(lambda: VideoModel(thin), base, "not a readable weight file")
        base.unlink()
        (tmp_path / "base.safetensors").write_bytes(VIDEO.read_bytes()[:-1])
        refused(lambda: VideoModel(thin), thin, f"needs the weight file with the id {VIDEO_ID}")


class TestWriting:
    def test_without_a_base(self, tmp_path: Path) -> None:
        """Nothing is changed. One key of metadata: safetensors writes several in any order."""
        tensors = read_tensors(CONTEXTS, "decoder.intra.")
        write(tmp_path / "a.safetensors", tensors, {"name": "a"})
        assert (tmp_path / "a.safetensors").read_bytes() == weight_files.serialize(tensors, {"name": "a"})

    def test_what_is_left_out(self, tmp_path: Path) -> None:
        """The same name, type, shape and bits."""
        rows = np.arange(12, dtype=np.int16).reshape(3, 4)
        theirs: Tensors = {
            "same": rows, "turned": rows.T.copy(), "nan": np.array([np.nan]), "zero": np.zeros(2), "type": rows,
            "shape": rows, "content": rows, "theirs": rows, "empty": np.zeros((0, 3)),
        }  # fmt: skip
        ours: Tensors = theirs | {
            "turned": rows.T, "zero": -np.zeros(2), "type": rows.astype(np.uint16), "shape": rows.reshape(4, 3),
            "content": rows + 1, "ours": rows,
        }  # fmt: skip
        del ours["theirs"]
        base, path = tmp_path / "base.safetensors", tmp_path / "thin.safetensors"
        weight_files.write(base, theirs, {"id": "01234567"})
        write(path, ours, {"id": "89abcdef"}, base)
        file = TensorFile(path)
        assert file.tensors().keys() == {"zero", "type", "shape", "content", "ours"}
        assert json.loads(file.metadata["borrowed"]) == ["empty", "nan", "same", "turned"]
        assert (file.metadata["id"], file.metadata["base"]) == ("89abcdef", "01234567")
        assert same(read_tensors(path, ""), ours)

    def test_nothing_in_common(self, base: Path, tmp_path: Path) -> None:
        write(tmp_path / "a.safetensors", {"x": np.zeros(1)}, {"name": "a"}, base)
        assert TensorFile(tmp_path / "a.safetensors").metadata == {"name": "a"}

    def test_a_thin_file_made_whole(self, thin: Path, base: Path) -> None:
        write(thin, read_tensors(thin, ""), TensorFile(thin).metadata)
        base.unlink()
        metadata = TensorFile(thin).metadata
        assert not metadata.keys() & {"base", "borrowed"}
        assert metadata.items() >= TensorFile(CONTEXTS).metadata.items()
        assert same(read_tensors(thin, ""), read_tensors(CONTEXTS, ""))

    def test_what_cannot_be_a_base(self, thin: Path, base: Path, tmp_path: Path) -> None:
        tensors, metadata = read_tensors(CONTEXTS, ""), TensorFile(CONTEXTS).metadata
        path = tmp_path / "new.safetensors"
        refused(lambda: write(path, tensors, metadata, thin), thin, "has a base itself")
        refused(lambda: write(path, tensors, metadata, tmp_path / "none"), tmp_path / "none", "No such file")
        refused(lambda: write(base, tensors, metadata, base), base, "that takes its place")
        restate(base, id="4b5a")
        refused(lambda: write(path, tensors, metadata, base), base, "states no model id")
        assert not path.exists()
        assert same(TensorFile(base).tensors(), read_tensors(VIDEO, ""))
