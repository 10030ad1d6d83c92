"""What re-parameterisation saves, against the best that its signalling could, and the time it takes. JSON on stdout.

    python benches/reparameterization.py                    latents made here, as of 1080p frames
    python benches/reparameterization.py latents.npz        real ones
    python benches/reparameterization.py clip.nvc [MODEL]   those of a file's first group, each information by itself

latents.npz holds `side_counts` (N, V) and `main_counts` (64, W), histograms of training symbols around V // 2 and
W // 2, and for frames t = 0, 1, ... of one group `side_t` (N, hz, wz), `main_t` (M, h, w), `index_t` (M, h, w).

`saving`: % of all bits over the frames, masks and codes included. `best_saving`: the same decisions for a sample of
slices with codes from a search of a hundred times the length: for one code every one of the 1024, else descents from
random codes. `share_of_best` compares the two on that sample; `share_of_gap` is saving / gap, the gap being the bits
beyond the histograms' own entropy. Milliseconds on one thread, compiled beforehand.
"""

import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Estimator
from nvc.entropy_coding.jit import njit
from nvc.entropy_models.code_search import Slice, slice_bits
from nvc.entropy_models.families import COARSE_BITS, CODE_BITS, CODES_MAX, COMPONENTS, MIXTURE, code_count
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main, fit_side
from nvc.entropy_models.reparameterized import (
    FORM_ROW,
    MASK_TABLES,
    Candidates,
    Plan,
    State,
    code,
    replaced_tables,
)
from nvc.entropy_models.reparameterized_fit import BEFORE_OTHERS, choose_by_counts, histogram

SIDE, MAIN = (64, 17, 30), (192, 68, 120)
FRAMES = 6
SAMPLE = 16  # slices of each part and frame that the long search sees
RESTARTS = 40

Ints = NDArray[Any]


def made_latents(random: np.random.Generator) -> tuple[HyperpriorTables, list[tuple[Ints, Ints, Ints]]]:
    """Channels whose scale, mean and tails drift from clip to clip, and a little from frame to frame."""
    side_scale = np.exp(random.uniform(np.log(0.3), np.log(5), SIDE[0]))
    index = np.clip(random.normal(8, 9, MAIN).round(), 0, 63).astype(np.uint8)

    def side(stretch: Ints, shift: Ints) -> Ints:
        scale = (side_scale * stretch)[:, None, None]
        drawn = random.laplace(size=SIDE) * np.exp(0.5 * random.normal(size=SIDE))
        return np.rint((drawn + shift[:, None, None]) * scale).astype(np.int32)

    def main(stretch: float) -> Ints:
        scale = 0.11 * np.exp(np.log(256 / 0.11) / 63 * index) * stretch
        return np.rint(random.normal(size=MAIN) * scale * np.exp(0.3 * random.normal(size=MAIN))).astype(np.int32)

    def clip() -> tuple[Ints, Ints, float]:
        return np.exp(0.4 * random.normal(size=SIDE[0])), 0.4 * random.normal(size=SIDE[0]), random.normal()

    side_counts, main_counts = np.zeros((SIDE[0], 801), np.int64), np.zeros((64, 4001), np.int64)
    for _ in range(12):
        stretch, shift, tone = clip()
        for k, channel in enumerate(side(stretch, shift).reshape(SIDE[0], -1)):
            side_counts[k] += np.bincount(channel[np.abs(channel) <= 400] + 400, minlength=801)
        symbols = main(np.exp(0.15 * tone))
        inside = np.abs(symbols) <= 2000
        cell = index[inside].astype(np.int64) * 4001 + symbols[inside] + 2000
        main_counts += np.bincount(cell, minlength=main_counts.size).reshape(64, -1)
    stretch, shift, tone = clip()
    frames = []
    for _ in range(FRAMES):
        tone += 0.1 * random.normal()
        drift = stretch * np.exp(0.03 * random.normal(size=SIDE[0]))
        frames.append((side(drift, shift), main(np.exp(0.15 * tone)), index))
    return tables_of(side_counts, main_counts), frames


def tables_of(side_counts: Ints, main_counts: Ints) -> HyperpriorTables:
    side = fit_side(side_counts, -(side_counts.shape[1] // 2))
    main = fit_main(main_counts, -(main_counts.shape[1] // 2))
    return HyperpriorTables.with_candidates(side, main, len(side), len(main))


def read_latents(path: str) -> tuple[HyperpriorTables, list[tuple[Ints, Ints, Ints]]]:
    with np.load(path) as file:
        tables = tables_of(file["side_counts"], file["main_counts"])
        count = sum(name.startswith("side_") for name in file.files) - 1
        return tables, [tuple(file[f"{kind}_{t}"] for kind in ("side", "main", "index")) for t in range(count)]


@njit
def long_search(family: int, here: Any, offset: int, escape: int, cost: Any, form_bits: Any, start: Any) -> float:
    """Fewest bits of one slice with new codes, those of the codes included."""
    table, normal = np.empty((2, here.size), np.int64), np.empty((7, 3), np.float64)
    codes, other = np.empty(8, np.int64), np.empty(8, np.int64)
    part = Slice(family, here, np.int64(offset), np.int64(escape), cost, table, codes, other, normal)
    lowest = np.inf
    for coarsely in range(2):
        spacing = 16 if coarsely else 1
        for components in range(1, COMPONENTS + 1):
            count = code_count(family, components)
            said = form_bits[components - 1 + 3 * coarsely] + (COARSE_BITS if coarsely else CODE_BITS) * count
            if count == 1:
                for value in range(1024 // spacing):
                    codes[0] = value * spacing + (8 if coarsely else 0)
                    lowest = min(lowest, said + slice_bits(part, components, codes))
                continue
            for restart in range(start.shape[0]):
                for j in range(count):
                    codes[j] = start[restart, j] // spacing * spacing + (8 if coarsely else 0)
                total = slice_bits(part, components, codes)
                for step in (256, 128, 64, 32, 16, 8, 4, 2, 1):
                    moved = step >= spacing
                    while moved:
                        moved = False
                        for j in range(count):
                            for direction in (-1, 1):
                                if 0 <= codes[j] + direction * step < 1024:
                                    codes[j] += direction * step
                                    trial = slice_bits(part, components, codes)
                                    if trial < total:
                                        total, moved = trial, True
                                    else:
                                        codes[j] -= direction * step
                lowest = min(lowest, total + said)
    return lowest


def compare_with_best(part: Candidates, counts: Ints, plan: Plan, state: State, random: np.random.Generator) -> Any:
    """Bits saved on sampled slices by the plan, and by the best of keeping, reusing and a long search; masks apart."""
    cost = 16 - np.log2(np.maximum(np.arange(65537), 1))
    form_bits = MASK_TABLES.bits[MASK_TABLES.start[FORM_ROW] :].astype(np.float64)
    ours = best = 0.0
    tables, before = part.tables, state.previous
    for i in random.permutation(len(part))[:SAMPLE]:
        row, base = part.rows[i], int(tables.start[part.rows[i]])
        here = counts[base : base + tables.size[row] - 1]
        if not here.any():
            continue
        frequency = np.diff(tables.row(row).astype(np.int64))
        learned = float((here * cost[frequency[:-1]]).sum())

        def bits(plan: Plan, i: int = i, row: int = row, here: Ints = here) -> float:
            alone = Plan(plan.components[i : i + 1], plan.reused[i : i + 1] * 0, plan.codes[i : i + 1])
            replaced = replaced_tables(Candidates(tables, part.rows[i : i + 1], part.family), alone)
            return float((here * cost[np.diff(replaced.row(row).astype(np.int64))[:-1]]).sum())

        found = learned
        if plan.components[i]:
            found = bits(plan)
            if not plan.reused[i]:
                components = int(plan.components[i])
                count = 3 * components - 1 if part.family == MIXTURE else 2 * components - 1
                coarse = bool((plan.codes[i, :count] & 15 == 8).all())
                found += form_bits[components - 1 + 3 * coarse] + (COARSE_BITS if coarse else CODE_BITS) * count
        start = random.integers(0, 1024, (RESTARTS, CODES_MAX))
        start[::2, :6] = np.clip(start[::2, :6] // 2 + 128, 0, 1023)
        options = [learned, long_search(part.family, here, tables.offset[row], frequency[-1], cost, form_bits, start)]
        if before.components[i]:
            options.append(bits(before))
        ours += learned - found
        best += learned - min(options)
    return np.array([ours, best])


def entropy(part: Candidates, counts: Ints) -> float:
    total = 0.0
    for row in range(len(part.tables)):
        base = part.tables.start[row]
        here = counts[base : base + part.tables.size[row]]
        total -= float((here * np.log2(np.where(here > 0, here / max(here.sum(), 1), 1))).sum())
    return total


def measure(part: Candidates, frames: list[tuple[Ints, Ints]]) -> dict[str, float | None]:
    """Over the frames of a group. frames: values and rows."""
    random = np.random.default_rng(1)
    state = State(part)
    learned = limit = coded = said = 0.0
    compared = np.zeros(2)
    times: list[tuple[float, float, float]] = []
    for values, rows in frames:
        clock = [time.perf_counter()]
        counts = histogram(part, values, rows)
        clock.append(time.perf_counter())
        plan = choose_by_counts(part, counts, state, BEFORE_OTHERS)
        clock.append(time.perf_counter())
        tables = replaced_tables(part, plan)
        clock.append(time.perf_counter())
        times.append(tuple(np.diff(clock) * 1e3))
        greedy = choose_by_counts(part, counts, state)
        compared += compare_with_best(part, counts, greedy, state, random)
        before, after = Estimator(), Estimator()
        before.code(values, rows, part.tables)
        code(after, part, plan, state)
        said += after.bits
        after.code(values, rows, tables)
        learned, limit, coded = learned + before.bits, limit + entropy(part, counts), coded + after.bits
        state.update(plan)
    typical = np.median(times, axis=0)
    return {
        "bits_per_frame": round(learned / len(frames)),
        "gap_percent": round(100 * (1 - limit / learned), 2),
        "saving_percent": round(100 * (1 - coded / learned), 2),
        "share_of_gap": round((learned - coded) / max(learned - limit, 1e-9), 3),
        "masks_and_codes_percent": round(100 * said / learned, 3),
        "share_of_best": round(float(compared[0] / compared[1]), 4) if compared[1] > 0 else None,  # nothing to save
        "histogram_ms": round(float(typical[0]), 2),
        "choose_ms": round(float(typical[1]), 2),
        "first_choose_ms": round(float(times[0][1]), 2),
        "tables_ms": round(float(typical[2]), 2),
    }


Latents = list[tuple[Ints, Ints, Ints]]


def first_group(path: str, model_name: str | None) -> dict[str, tuple[HyperpriorTables, Latents]]:
    """Tables and latents of the first I frame of a video file and the frames up to the next, by information."""
    from nvc.bitstream.video_reader import read_video_header
    from nvc.codec.catalogue import by_number
    from nvc.codec.frame_bits import parse_frames
    from nvc.codec.video_model import by_id

    with open(path, "rb") as file:
        header, _ = read_video_header(file, 1 << 28)
        entry = by_number(header.codec)
        assert entry is not None
        model = by_id(header.model_id, entry.name, model_name)
        file.seek(0)
        found: dict[str, tuple[HyperpriorTables, Latents]] = {}
        for index, frame in enumerate(parse_frames(file, model)):
            if frame.coded.type.name == "I" and index:
                break
            for name, here in frame.content.latents.items():
                tables, parts = found.setdefault(name, (model.tables(name, frame.level), []))
                parts.append((here.z, *tables.main_values(here.index, here.symbols)))
    return found


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1].endswith(".nvc"):
        groups = first_group(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    else:
        made = read_latents(sys.argv[1]) if len(sys.argv) > 1 else made_latents(np.random.default_rng(4))
        groups = {"": made}
    found = {}
    for information, (tables, frames) in groups.items():
        parts = {
            "side": (tables.side_part, [(side, np.arange(len(side))[:, None, None]) for side, _, _ in frames]),
            "main": (tables.main_part, [(symbols, index) for _, symbols, index in frames]),
        }
        for name, (part, data) in parts.items():
            choose_by_counts(part, histogram(part, *data[0]), State(part))  # compile
            replaced_tables(part, choose_by_counts(part, histogram(part, *data[0]), State(part)))
            found[f"{information} {name}".strip()] = measure(part, data)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
