"""Do captions teach what class names do not? On the synthetic clips, over several seeds.

    python benchmarks/caption_training.py --seeds 4 --jobs 2

Each seed draws clips of its own and holds out three of the eleven classes: no training clip shows
them, alone or in a compound, and no compound is trained on at all. From the same clips and the
same random weights come three models:

- ``captions``: trained on the clips' captions, with the temporal transformer (EmoCLIP),
- ``class names``: the same, trained on "an expression of <class>" instead of captions,
- ``ensemble``: the towers of ``captions``, with the mean of the frames for the transformer.

Judged on people who were never trained on: clips of held-out classes among all eleven classes,
and among the held-out ones alone; clips of trained classes among all; compounds (of trained
classes) among the compounds. A model is asked in the words that it was trained on: class
descriptions, or class names for the one that knows nothing else. Rows are appended as soon as a
seed is done; finished seeds are kept.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

CONDITIONS = ("captions", "class names", "ensemble")
FIGURES = ("held out among all", "held out among themselves", "trained among all", "compounds")
FIELDS = ("seed", "condition", "held_out", *FIGURES, *(f"chance, {f}" for f in FIGURES))
N_HELD_OUT = 3
TEMPLATE = "an expression of {name}"


def one_seed(seed: int) -> list[dict[str, str | float | int]]:
    """Train and judge every condition on one seed's clips."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    from emoclip_clinical.core.clips import read_clips
    from emoclip_clinical.study.synthetic import SyntheticConfig, write_study

    root = Path(tempfile.mkdtemp(prefix="caption-training-"))
    try:
        config = SyntheticConfig(
            seed=seed,
            n_training_clips=4000,
            n_test_clips=880,
            n_validation_clips=11,
            n_subjects=2,
            interview_seconds=2,
        )
        write_study(root, config=config, workers=1)
        clips = read_clips(root / "clips.csv")
        singles = sorted({c.label for c in clips if "_" not in c.label})
        drawn = np.random.default_rng(seed).choice(len(singles), N_HELD_OUT, replace=False)
        held_out = [singles[i] for i in sorted(drawn)]
        return [
            {"seed": seed, "condition": name, "held_out": " ".join(held_out),
             **judged(root, clips, name, singles=singles, held_out=held_out, seed=seed)}
            for name in CONDITIONS
        ]  # fmt: skip
    finally:
        shutil.rmtree(root, ignore_errors=True)


def judged(root, clips, condition, *, singles, held_out, seed):  # type: ignore[no-untyped-def]
    import numpy as np

    from emoclip_clinical.core.embedder import load_model
    from emoclip_clinical.core.evaluation.class_texts import class_texts
    from emoclip_clinical.core.evaluation.clip_embeddings import ClipEmbeddings
    from emoclip_clinical.core.evaluation.zero_shot import score
    from emoclip_clinical.features.prompt_sets import load_prompt_set
    from emoclip_clinical.records import PromptSet

    folder = root / "models" / condition.replace(" ", "-")
    if condition == "ensemble":
        write_ensemble(root / "models" / "captions", folder)
    else:
        learn = [c for c in clips if c.split == "train" and c.label in set(singles) - set(held_out)]
        fit(learn, root, folder, captions="both" if condition == "captions" else "class_names",
            seed=seed)  # fmt: skip
    prompts = load_prompt_set("prompts/synthetic.yaml", folder=root)
    if condition == "class names":
        names = {c: (TEMPLATE.format(name=c),) for c in prompts.classes}
        prompts = PromptSet("names", names, prompts.compounds)
    known = {
        name: parts for name, parts in prompts.compounds.items() if not set(parts) & set(held_out)
    }
    embedder = load_model(folder, device="cpu")
    found = score(
        [c for c in clips if c.split == "test"],
        class_texts(embedder, prompts, compounds=known),
        ClipEmbeddings(embedder),
    )
    place = {name: k for k, name in enumerate(found.classes)}
    out = [place[c] for c in held_out]
    rest = [place[c] for c in singles if c not in held_out]
    compounds = [place[c] for c in known]
    sets = (out, out + rest), (out, out), (rest, out + rest), (compounds, compounds)
    row = {}
    for figure, (shown, competing) in zip(FIGURES, sets, strict=True):
        rows = np.isin(found.observed, shown)
        guessed = np.array(competing)[np.argmax(found.scores[rows][:, competing], axis=1)]
        recalls = [np.mean(guessed[found.observed[rows] == k] == k) for k in shown]
        row[figure] = float(np.mean(recalls))
        row[f"chance, {figure}"] = 1 / len(competing)
    return row


def fit(learn, root, folder, *, captions, seed):  # type: ignore[no-untyped-def]
    from emoclip_clinical.core.training import train
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.shipped import shipped_protocol

    (root / "protocol.yaml").write_text(shipped_protocol("demo"), encoding="utf-8")
    settings = {"training.threads": 1, "training.captions": captions}
    protocol = open_study(root, settings=settings).protocol
    train(learn, model=protocol.model, training=protocol.training, folder=folder,
          state_folder=root / "state", seed=seed, device="cpu")  # fmt: skip


def write_ensemble(source: Path, folder: Path) -> None:
    """Copy a model without its temporal transformer, to average frames instead."""
    import json

    from safetensors.torch import load_file, save_file

    from emoclip_clinical.file_hashes import file_sha256

    folder.mkdir()
    tensors = load_file(source / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("temporal.")}
    save_file(kept, folder / "model.safetensors")
    card = json.loads((source / "model.json").read_text(encoding="utf-8"))
    card["architecture"]["temporal"]["kind"] = "mean"
    card["weights_sha256"] = file_sha256(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, rows: list[dict[str, str | float | int]]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def summary(rows: list[dict[str, str]]) -> str:
    """Mean of each figure over seeds, and captions' lead with its 95 % t interval."""
    import numpy as np
    from scipy import stats

    seeds = sorted({int(row["seed"]) for row in rows})
    lines = []
    for figure in FIGURES:
        values = {
            name: np.array([
                float(row[figure])
                for seed in seeds for row in rows
                if row["condition"] == name and int(row["seed"]) == seed
            ])
            for name in CONDITIONS
        }  # fmt: skip
        chance = np.mean([float(row[f"chance, {figure}"]) for row in rows])
        lines.append(f"{figure} (chance {chance:.3f}), UAR, mean over {len(seeds)} seeds")
        for name in CONDITIONS:
            line = f"  {name:<12} {values[name].mean():.3f}"
            if name != "captions" and len(seeds) > 1:
                lead = values["captions"] - values[name]
                half = stats.t.ppf(0.975, len(lead) - 1) * lead.std(ddof=1) / len(lead) ** 0.5
                low, high = lead.mean() - half, lead.mean() + half
                line += f"   captions lead by {lead.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/measured/caption_training.csv"))
    options = parser.parse_args()
    done = {int(row["seed"]) for row in read_rows(options.output)}
    waiting = [seed for seed in range(options.seeds) if seed not in done]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(one_seed, seed) for seed in waiting]):
            append_rows(options.output, future.result())
            print(summary(read_rows(options.output)), flush=True)


if __name__ == "__main__":
    main()
