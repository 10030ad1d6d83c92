"""nvc-eval as its user meets it: tables on stdout, one line on stderr and an exit code when it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc.cli import common
from nvc.cli.eval import cli
from nvc.evaluation import results

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crops of photographs, 96x64: too small for MS-SSIM, quick."""
    made = tmp_path_factory.mktemp("pictures")
    for name, source in (("a", "sign"), ("b", "stair")):
        Image.open(DATA / f"{source}.png").crop((20, 20, 116, 84)).save(made / f"{name}.png")
    return made


def run(*arguments: object) -> int:
    return common.run(cli, [str(argument) for argument in arguments])


LADDERS = ("-s", "jpeg=20,50,80", "-s", "webp=5,40,75")


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "rd.json"
    assert run("rd", "-c", "jpeg", "-c", "webp", *LADDERS, "--no-ms-ssim", "-o", path, folder) == 0
    return path


def test_rd_prints_a_table_and_keeps_the_rows(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rd.json"
    assert run("rd", "-c", "jpeg", "-c", "webp", *LADDERS, "--per-picture", "-o", path, folder) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("| codec | BD-rate against jpeg, mean of pictures |")
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| jpeg", "| webp"]
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| a.png", "| b.png"]
    assert err == ""
    assert len(results.read(path).rows) == 12


def test_existing_results_are_refused_overwritten_or_resumed(
    measured: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rd.json"
    path.write_bytes(measured.read_bytes())
    ask = ("rd", "-c", "jpeg", "-s", "jpeg=20,50,90", "--no-ms-ssim", "-o", path)
    assert run(*ask, folder) == 4
    assert capfd.readouterr().err == f"nvc-eval: {path}: exists; use -f\n"
    assert path.read_bytes() == measured.read_bytes()
    assert run(*ask, "--resume", folder) == 0
    assert len(results.read(path).rows) == 14
    assert run(*ask, "-f", folder) == 0
    assert len(results.read(path).rows) == 6
    assert run(*ask, "-f", "--resume", folder) == 2


def test_progress_goes_to_stderr_when_forced(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("rd", "-c", "jpeg", "-s", "jpeg=20,50", "--no-ms-ssim", "--progress", folder) == 0
    out, err = capfd.readouterr()
    assert "file" in err
    assert "file" not in out


def test_bd_reads_what_rd_wrote(measured: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("bd", measured, "--anchor", "jpeg", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["codec"], found["anchor"], found["pictures"]) == ("webp", "jpeg", 2)
    assert run("bd", measured, "--anchor", "webp", "-c", "jpeg") == 0
    table = capfd.readouterr().out.splitlines()
    assert table[2].startswith("| webp | 0 | 0 |")
    assert table[3].startswith("| jpeg | +" if found["percent"] < 0 else "| jpeg | −")


def test_bd_of_one_codec_in_two_files(measured: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = results.read(measured)
    smaller = results.Results(codecs=whole.codecs, pictures=whole.pictures)
    for row in whole.rows.values():
        smaller.add(results.replace(row, bytes=round(row.bytes * 0.8)))
    results.write(smaller, tmp_path / "after.json")
    assert run("bd", measured, tmp_path / "after.json", "--anchor", "rd/jpeg", "-c", "after/jpeg") == 0
    line = capfd.readouterr().out.splitlines()[3]
    name, mean = line.split(" | ")[:2]
    assert name == "| after/jpeg"
    assert float(mean.replace("−", "-").rstrip(" %")) == pytest.approx(-20, abs=0.1)


def test_bd_reads_published_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, factor in (("factorized", 1.0), ("other", 0.75)):
        points = {"bpp": [0.12 * factor, 0.19 * factor, 0.29 * factor], "psnr-rgb": [26.9, 28.2, 29.6]}
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "description": "", "results": points}))
    assert run("bd", tmp_path / "factorized.json", tmp_path / "other.json") == 0
    assert "| other | – | −25.00 % | mean only | 26.9–29.6 | 100 % |" in capfd.readouterr().out


def test_plot(measured: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("plot", measured, "-o", tmp_path / "rd.png") == 0
    assert np.array(Image.open(tmp_path / "rd.png")).std() > 5
    assert run("plot", measured, "-o", tmp_path / "rd.png") == 4
    assert run("plot", measured, "-o", tmp_path / "rd.jpg") == 2
    assert "a plot is written as .svg, .png, .pdf" in capfd.readouterr().err


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of 64x48: a window that moves over a photograph."""
    from nvc.media.colour import rgb_to_frame

    path = tmp_path_factory.mktemp("clip") / "moves.y4m"
    photo = np.asarray(Image.open(DATA / "sign.png").convert("RGB"))
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
        for t in range(5):
            frame = rgb_to_frame(photo[60:108, 50 + 2 * t : 114 + 2 * t], 6, False)
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in frame.planes))
    return path


def test_rd_of_clips(clip: Path, tiny_video_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ssf = f"ssf:model={tiny_video_model}"
    codecs = ("-c", "x264", "-c", ssf, "-s", "x264=20,40", "-s", f"{ssf}=2,6")
    path = tmp_path / "clips.json"
    assert run("rd", *codecs, "--frames", "4", "--metric", "yuv-psnr", "-o", path, clip) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].endswith("| bpp | kbit/s | encode frames/s | decode frames/s |")
    assert lines[3].startswith(f"| {ssf} | ")
    assert {row.frames for row in results.read(path).rows.values()} == {4}
    assert run("bd", path, "--per-picture") == 0
    assert "| moves.y4m | " in capfd.readouterr().out
    assert run("plot", path, "--metric", "yuv-psnr", "-o", tmp_path / "rd.svg") == 0
    assert (tmp_path / "rd.svg").read_text().startswith("<?xml")
    before = path.read_text().splitlines()[-5:]
    assert run("rd", *codecs, "--frames", "4", "--resume", "-o", path, clip) == 0
    assert path.read_text().splitlines()[-5:] == before  # seconds too: nothing was measured again


def test_gap(clip: Path, tiny_video_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, plots = tmp_path / "gap.json", (tmp_path / "rate.svg", tmp_path / "tables.png")
    ask = ("gap", "-c", f"ssf:model={tiny_video_model}", "--levels", "3,6", "-o", path)
    assert run(*ask, "--rate-plot", plots[0], "--table-plot", plots[1], clip) == 0
    out = capfd.readouterr().out
    assert out.count("| frames | motion side | motion main | residual side | residual main | all |") == 2
    assert out.count("| moves.y4m | ") == 2
    assert plots[0].read_text().startswith("<?xml")
    assert np.array(Image.open(plots[1])).std() > 5
    assert run(*ask, "--resume", "--json", clip) == 0
    files = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(file["setting"], file["frames"]) for file in files] == [(3.0, {"I": 1, "P": 4}), (6.0, {"I": 1, "P": 4})]
    assert run(*ask, clip) == 4
    capfd.readouterr()
    assert run("gap", "-c", "x264", clip) == 2
    assert run("gap", "--rate-plot", "a.jpg", clip) == 2
    assert [line.count("nvc-eval: ") for line in capfd.readouterr().err.splitlines()] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["rd", "-c", "jpeg", "-c", "x264", "."], 2, "pictures and clips"),
        (["rd", "-c", "jpeg", "--frames", "3", "."], 2, "--frames is for clips"),
        (["rd", "-c", "x264", "."], 3, "no clips in this folder"),
        (["rd", "-c", "jxl", "."], 2, "unknown codec 'jxl'"),
        (["rd", "-c", "jpeg", "-s", "webp=3,4", "."], 2, "--settings webp=…: no such -c"),
        (["rd", "-c", "jpeg", "-s", "jpeg=a,b", "."], 2, "is not a list of numbers"),
        (["rd", "-c", "jpeg", "--anchor", "webp", "."], 2, "--anchor webp: no such -c"),
        (["rd", "-c", "jpeg", "--resume", "."], 2, "-o FILE"),
        (["rd", "-c", "jpeg", "-o", "missing/x.json", "."], 4, "no folder"),
        (["rd", "-c", "jpeg", "."], 3, "no pictures in this folder"),
        (["rd", "-c", "jpeg", "text.png"], 3, "text.png"),
        (["rd", "-c", "jpeg", "nothing.png"], 2, "nothing.png"),
        (["rd", "."], 2, "--codec"),
        (["bd", "text.png"], 3, "not JSON"),
        (["bd", "nothing.json"], 3, "cannot be read"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    if arguments[-1] == ".":
        (tmp_path / "text.png").unlink()
    assert run(*arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("nvc-eval: ")
    assert err.count("\n") == 1
    assert reason in err


def test_help_is_instant(tmp_path: Path) -> None:
    script = (
        "import sys; from nvc.cli import eval as command; from nvc.cli import common\n"
        "code = common.run(command.cli, ['rd', '--help'])\n"
        "print(code, sorted({'torch', 'numpy', 'PIL', 'matplotlib', 'scipy', 'numba'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "BD-rate" not in done.stderr
    assert "nvc-eval rd -c jpeg -c webp -c nvc -o kodak.json kodak/" in done.stdout
