"""Weight files that store equal tensors once: the same as the whole file, and one line where that cannot be."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from nvc.codec import models, same_tensors, weight_files
from nvc.codec.borrowing import WholeFile, write
from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.same_tensors import fold
from nvc.codec.video_model import VideoModel
from nvc.codec.weight_files import TensorFile
from nvc.errors import InputError
from nvc.training.export import set_psnr

DATA = Path(__file__).parents[1] / "data"
LHBDC = DATA / "tiny_lhbdc.safetensors"
STORED, LEFT_OUT = "decoder.biresidual.linear", "decoder.residual.linear"  # equal in it
OTHER = "decoder.motion.linear"  # not equal to these
FORMS = [".safetensors", ".safetensors.gz"]


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only folder of installed models is empty."""
    folder = tmp_path_factory.mktemp("installed")
    monkeypatch.setattr(models, "folders", lambda: [folder])


@pytest.fixture(params=FORMS)
def folded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The tiny model, its equal tensors stored once."""
    path = tmp_path / f"folded{request.param}"
    write(path, read_tensors(LHBDC, ""), TensorFile(LHBDC).metadata)
    return path


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
    def test_is_the_whole_file(self, folded: Path) -> None:
        stored, whole = TensorFile(folded), read_tensors(LHBDC, "")
        left_out = json.loads(stored.metadata["same"])
        assert left_out[LEFT_OUT] == STORED
        assert stored.names == whole.keys() - left_out.keys()
        plain = whole.keys() - fold(whole).keys()
        assert stored.names == plain
        model, before = VideoModel(folded), VideoModel(LHBDC)
        assert (model.id, model.info.id, model.config) == (before.id, before.info.id, before.config)
        assert same(model.encoder(), before.encoder())
        for prefix in ("", "decoder.", "decoder.residual.", "decoder.biresidual.", LEFT_OUT, STORED, "nothing."):
            assert same(model.tensors(prefix), read_tensors(LHBDC, prefix)), prefix
            assert same(read_tensors(folded, prefix), read_tensors(LHBDC, prefix)), prefix

    def test_is_smaller(self, folded: Path) -> None:
        """By what is left out, of which the names cost something again."""
        whole = read_tensors(LHBDC, "")
        bytes_less = sum(whole[name].nbytes for name in fold(whole))
        assert sum(value.nbytes for value in TensorFile(folded).tensors().values()) == (
            sum(value.nbytes for value in whole.values()) - bytes_less
        )
        assert bytes_less > 10_000

    def test_among(self, folded: Path) -> None:
        """Of the two only the one that is asked for, and no name that begins otherwise."""
        whole = read_tensors(LHBDC, "decoder.")
        for names in ({LEFT_OUT}, {STORED}, {LEFT_OUT, STORED}, {OTHER}, set()):
            found = WholeFile(folded, models.folders).tensors("decoder.", names)
            assert same(found, {name: value for name, value in whole.items() if f"decoder.{name}" in names})
        assert not WholeFile(folded, models.folders).tensors("encoder.", {LEFT_OUT})

    def test_tensors_are_the_callers_own(self, folded: Path) -> None:
        """Who writes in one changes neither its equal nor what is read again."""
        file, before = WholeFile(folded, models.folders), read_tensors(LHBDC, "")
        left_out = [name for name in file.same if before[name].any()]
        assert LEFT_OUT in left_out
        tensors = file.tensors()
        for name in left_out:
            tensors[name][...] = 0
        assert same({n: t for n, t in tensors.items() if n not in left_out}, TensorFile(folded).tensors() | {
            n: before[n] for n in file.same if n not in left_out
        })  # fmt: skip
        assert same(file.tensors(), before)

    def test_nothing_is_read_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, read = tmp_path / "folded.safetensors", Counter[str]()
        write(path, read_tensors(LHBDC, ""), TensorFile(LHBDC).metadata)
        real = safetensors.safe_open

        class Watched:
            def __init__(self, path: Path, **options: Any) -> None:
                self.opened = real(path, **options)

            def __enter__(self) -> "Watched":
                self.file = self.opened.__enter__()
                return self

            def __exit__(self, *error: Any) -> None:
                self.opened.__exit__(*error)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def get_tensor(self, name: str) -> Any:
                read[name] += 1
                return self.file.get_tensor(name)

        monkeypatch.setattr(safetensors, "safe_open", Watched)
        file = WholeFile(path, models.folders)
        file.tensors("decoder.residual.")
        below = [name for name in read_tensors(LHBDC, "") if name.startswith("decoder.residual.")]
        read.clear()
        file.tensors("decoder.residual.")
        assert read == Counter({file.same.get(name, name) for name in below})
        read.clear()
        file.tensors()
        assert read == Counter(file.names)

    def test_label_leaves_it_folded(self, folded: Path) -> None:
        before = TensorFile(folded)
        tensors, metadata = before.tensors(), before.metadata
        set_psnr(folded, tuple(range(30, 38)))
        after = TensorFile(folded)
        assert same(after.tensors(), tensors)
        assert after.metadata == metadata | {"psnr": json.dumps(list(range(30, 38)))}
        assert VideoModel(folded).id == VideoModel(LHBDC).id


class TestBases:
    """`folded` is the base of a file in which motion differs, and which has two equal tensors of its own."""

    def ours(self) -> tuple[Tensors, dict[str, str]]:
        tensors = read_tensors(LHBDC, "")
        tensors |= {name: value ^ 1 for name, value in tensors.items() if name.startswith("decoder.motion.linear")}
        tensors |= {"training.a": np.arange(16), "decoder.b": np.arange(16), "decoder.c": tensors[STORED].copy()}
        return tensors, TensorFile(LHBDC).metadata | {"id": model_id(tensors).hex()}

    @pytest.fixture
    def thin(self, folded: Path, tmp_path: Path) -> Path:
        path = tmp_path / "thin.safetensors"
        write(path, *self.ours(), folded)
        return path

    def test_has_what_its_base_leaves_out(self, thin: Path) -> None:
        file, (tensors, metadata) = WholeFile(thin, models.folders), self.ours()
        assert {STORED, LEFT_OUT} <= file.borrowed
        assert file.names == {OTHER, "decoder.b", "decoder.c"}
        assert file.same == {"training.a": "decoder.b"}
        assert VideoModel(thin).id.hex() == metadata["id"]
        for prefix in ("", "decoder.", "decoder.residual.", LEFT_OUT, "training.", "decoder.c"):
            expected = {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
            assert same(read_tensors(thin, prefix), expected), prefix

    def test_base_of_which_nothing_else_is_had(self, folded: Path, tmp_path: Path) -> None:
        """The only borrowed tensor is one that the base leaves out."""
        path, value = tmp_path / "a.safetensors", read_tensors(LHBDC, "")[LEFT_OUT]
        write(path, {LEFT_OUT: value}, {}, folded)
        assert json.loads(TensorFile(path).metadata["borrowed"]) == [LEFT_OUT]
        assert not TensorFile(path).names
        assert same(read_tensors(path, "decoder."), {LEFT_OUT.removeprefix("decoder."): value})

    def test_base_that_is_not_sound(self, thin: Path, folded: Path) -> None:
        restate(folded, same=json.dumps({LEFT_OUT: "nothing"}))
        refused(lambda: VideoModel(thin), folded, "not a sound weight file: it does not store 'nothing'")

    def test_base_that_lacks_it(self, thin: Path, folded: Path) -> None:
        kept = {name: value for name, value in read_tensors(folded, "").items() if name != LEFT_OUT}
        write(folded, kept, TensorFile(folded).metadata)
        refused(lambda: VideoModel(thin), thin, f"not a sound weight file: its base {folded} lacks {LEFT_OUT!r}")

    def test_borrowed_and_the_same(self, thin: Path) -> None:
        restate(thin, same=json.dumps({LEFT_OUT: "decoder.c"}))
        for make in (lambda: VideoModel(thin), lambda: read_tensors(thin, "training.")):
            refused(make, thin, "not a sound weight file: ", f"it borrows {LEFT_OUT!r} and has it the same as another")

    def test_the_same_as_a_borrowed_one(self, thin: Path) -> None:
        restate(thin, same=json.dumps({"training.a": STORED}))
        for make in (lambda: VideoModel(thin), lambda: read_tensors(thin, "training.")):
            refused(make, thin, "not a sound weight file: ", f"it does not store {STORED!r}, which 'training.a' is")


class TestUnsound:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not an object of names"),
            ("{", "not an object of names"),
            ("[" * 100_000, "not an object of names"),
            ('{"a":' * 100_000, "not an object of names"),
            ("null", "not an object of names"),
            ("[]", "not an object of names"),
            (f'["{LEFT_OUT}"]', "not an object of names"),
            (f'[["{LEFT_OUT}", "{STORED}"]]', "not an object of names"),
            (f'"{LEFT_OUT}"', "not an object of names"),
            (f'{{"{LEFT_OUT}": 1}}', "not an object of names"),
            (f'{{"{LEFT_OUT}": null}}', "not an object of names"),
            (f'{{"{LEFT_OUT}": ["{STORED}"]}}', "not an object of names"),
            (f'{{"{LEFT_OUT}": {{"{STORED}": "{STORED}"}}}}', "not an object of names"),
            ("{}", "nothing, or a tensor twice"),
            (f'{{"{LEFT_OUT}": "{STORED}", "{LEFT_OUT}": "{STORED}"}}', "nothing, or a tensor twice"),
            (f'{{"{STORED}": "{OTHER}"}}', f"it has {STORED!r} and leaves it out too"),
            (f'{{"{STORED}": "{STORED}"}}', f"it has {STORED!r} and leaves it out too"),
            (f'{{"{LEFT_OUT}": "{LEFT_OUT}"}}', f"it does not store {LEFT_OUT!r}, which {LEFT_OUT!r} is the same as"),
            (f'{{"{LEFT_OUT}": "nothing"}}', f"it does not store 'nothing', which {LEFT_OUT!r} is the same as"),
            (f'{{"{LEFT_OUT}": "{STORED}", "z": "{LEFT_OUT}"}}', f"it does not store {LEFT_OUT!r}, which 'z' is"),
            (f'{{"{LEFT_OUT}": "__metadata__"}}', "it does not store '__metadata__'"),
            (rf'{{"\n\ud800": "{LEFT_OUT}"}}', rf"it does not store {LEFT_OUT!r}, which '\n\ud800' is the same as"),
        ],
    )
    def test_metadata(self, text: str, reason: str, folded: Path) -> None:
        """Whatever of the file is asked for."""
        restate(folded, same=text)
        for prefix in ("", "decoder.", "nothing."):
            refused(lambda prefix=prefix: read_tensors(folded, prefix), folded, "not a sound weight file: ", reason)
        refused(lambda: VideoModel(folded), folded, "not a sound weight file: ", reason)

    def test_without_the_key(self, folded: Path) -> None:
        """As an older nvc sees the file."""
        restate(folded, same=None)
        refused(lambda: VideoModel(folded), folded, "damaged: its tensors have the id ")

    def test_the_same_as_another_one(self, folded: Path) -> None:
        told = json.loads(TensorFile(folded).metadata["same"])
        restate(folded, same=json.dumps(told | {LEFT_OUT: OTHER}))
        refused(lambda: VideoModel(folded), folded, "damaged: its tensors have the id ")

    def test_more_than_memory_should_hold(self, folded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some bytes of metadata could stand for any number of large tensors."""
        size = read_tensors(LHBDC, "")[STORED].nbytes
        restate(folded, same=json.dumps({f"many.{i}": STORED for i in range(9)}))
        monkeypatch.setattr(same_tensors, "SIZE_MAX", 8 * size)
        refused(lambda: read_tensors(folded, "many."), folded, "not a sound", f"have {9 * size} bytes, more than")
        restate(folded, same=json.dumps({f"many.{i}": STORED for i in range(8)}))
        assert len(read_tensors(folded, "many.")) == 8


class TestWriting:
    def test_what_is_left_out(self) -> None:
        """The same type, shape and bits; of the first name; nothing small."""
        rows = np.arange(32, dtype=np.int16).reshape(4, 8)  # 64 bytes
        tensors: Tensors = {
            "c": rows, "b": rows.copy(), "d": rows.T.copy().T, "a.content": rows + 1, "a.shape": rows.T.copy(),
            "a.type": rows.astype(np.uint16), "a.order": rows.astype(">i2"),
            "a.small": rows[:, :7], "b.small": rows[:, :7],
            "nan.a": np.full(8, np.nan), "nan.b": np.full(8, np.nan), "zero.a": np.zeros(8), "zero.b": -np.zeros(8),
            "empty.a": np.zeros((0, 64)), "empty.b": np.zeros((0, 64)),
        }  # fmt: skip
        found = fold(tensors)
        assert found == {"c": "b", "d": "b", "nan.b": "nan.a"}
        assert list(found) == sorted(found)

    def test_a_byte_too_small(self) -> None:
        for count, expected in ((63, {}), (64, {"b": "a"})):
            assert fold({"a": np.zeros(count, np.uint8), "b": np.zeros(count, np.uint8)}) == expected

    @pytest.mark.parametrize("form", FORMS)
    def test_bytes_do_not_depend_on_order(self, form: str, tmp_path: Path) -> None:
        """One key of metadata: safetensors writes several in any order."""
        tensors, written = read_tensors(LHBDC, ""), []
        for number, names in enumerate((sorted(tensors), sorted(tensors, reverse=True))):
            path = tmp_path / f"{number}{form}"
            write(path, {name: tensors[name] for name in names}, {})
            assert TensorFile(path).metadata.keys() == {"same"}
            written.append(path.read_bytes())
        assert written[0] == written[1]

    def test_nothing_equal(self, folded: Path) -> None:
        """What the metadata said before is forgotten."""
        tensors = {name: value for name, value in read_tensors(folded, "").items() if name in TensorFile(folded).names}
        assert not fold(tensors)
        write(folded, tensors, TensorFile(folded).metadata | {"name": "a"})
        assert TensorFile(folded).metadata == TensorFile(LHBDC).metadata | {"name": "a"}
        assert same(TensorFile(folded).tensors(), tensors)

    def test_written_again(self, folded: Path) -> None:
        before = TensorFile(folded).metadata, TensorFile(folded).tensors()
        write(folded, read_tensors(folded, ""), before[0])
        assert TensorFile(folded).metadata == before[0]
        assert same(TensorFile(folded).tensors(), before[1])
