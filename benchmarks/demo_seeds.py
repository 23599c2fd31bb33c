"""The demo over many seeds, with the trait's effect on the face on and off.

    python benchmarks/demo_seeds.py --seeds 20 --jobs 2 --output docs/measured/demo_seeds.csv

Each seed draws a study of its own (clips, cohort, interviews), trains, judges held-out clips,
extracts and regresses; then the same seed's cohort is drawn once more with effect 0 and taken
through the same model. A row is appended as soon as a seed is done, and finished seeds are not
repeated, so the benchmark can be interrupted.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

FIELDS = (
    "seed", "uar", "uar_low", "uar_high", "chance", "r", "p", "r_control", "p_control",
    "r_effect_0", "p_effect_0",
)  # fmt: skip
LEVEL = 0.05


def one_seed(seed: int) -> dict[str, float | int | None]:
    """Run the demo with one seed, then its cohort without any effect; return the figures."""
    import torch

    torch.set_num_threads(1)
    from emoclip_clinical.study.demo import run_demo
    from emoclip_clinical.study.extract import run_extract
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.regress import run_regress
    from emoclip_clinical.study.synthetic import SyntheticConfig, write_study

    root = Path(tempfile.mkdtemp(prefix="demo-seeds-"))
    try:
        demo = run_demo(root / "on", config=SyntheticConfig(seed=seed), workers=1)
        low, high = demo.uar_interval
        found = {r.name: r.estimate for r in demo.results}
        smallest = {"n_training_clips": 11, "n_validation_clips": 11, "n_test_clips": 11}
        write_study(
            root / "off", config=SyntheticConfig(seed=seed, effect=0, **smallest), workers=1
        )
        shutil.copytree(root / "on" / "models", root / "off" / "models")
        shutil.copy(root / "on" / "protocol.yaml", root / "off" / "protocol.yaml")
        study = open_study(root / "off", settings={"regression.targets": ["negative_symptoms"]})
        run_extract(study, [root / "off" / "interviews"], device="cpu")
        (off,) = run_regress(study)
        return {
            "seed": seed,
            "uar": demo.zero_shot.uar,
            "uar_low": low,
            "uar_high": high,
            "chance": demo.zero_shot.chance,
            "r": found["negative_symptoms"].metrics.pearson_pooled,
            "p": found["negative_symptoms"].p_permutation,
            "r_control": found["P1"].metrics.pearson_pooled,
            "p_control": found["P1"].p_permutation,
            "r_effect_0": off.estimate.metrics.pearson_pooled,
            "p_effect_0": off.estimate.p_permutation,
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_row(path: Path, row: dict[str, float | int | None]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def summary(rows: list[dict[str, str]]) -> str:
    def below(column: str) -> int:
        return sum(bool(row[column]) and float(row[column]) <= LEVEL for row in rows)

    n = len(rows)
    above = sum(float(row["uar_low"]) > float(row["chance"]) for row in rows)
    return (
        f"UAR's interval above chance in {above} of {n}; p <= {LEVEL}: negative_symptoms in "
        f"{below('p')}, control in {below('p_control')}, negative_symptoms at effect 0 in "
        f"{below('p_effect_0')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/measured/demo_seeds.csv"))
    options = parser.parse_args()
    done = {int(row["seed"]) for row in read_rows(options.output)}
    waiting = [seed for seed in range(options.seeds) if seed not in done]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(one_seed, seed) for seed in waiting]):
            row = future.result()
            append_row(options.output, row)
            print(row, flush=True)
    rows = sorted(read_rows(options.output), key=lambda row: int(row["seed"]))
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
