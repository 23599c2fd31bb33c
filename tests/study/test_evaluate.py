"""Evaluation of a study: folds, variants, files, what is trained and what is done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.evaluation.config import EvaluationConfig
from emoclip_clinical.core.model import build_model
from emoclip_clinical.people import hash_people
from emoclip_clinical.records import InputError
from emoclip_clinical.study.evaluate import Evaluated, is_evaluated, load_folds, run_evaluate
from emoclip_clinical.study.protocol import Study, open_study

LABELS = ("anger", "fear", "sadness", "surprise", "anger_fear", "fear_sadness", "anger_sadness")
PROMPTS = "mafw_eleven"


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    write_video: Callable[..., Path],
    small_model: ModelConfig,
) -> Path:
    """A study with an untrained model and clips of seven labels in three splits."""
    study = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(56):
        label = LABELS[i % 7]
        shade = 30 * LABELS.index(label) + rng.normal(0, 12, (5, 64, 64, 3)) + 20
        path = write_video(study / "clips" / f"{i}.mp4", shade.clip(0, 255).astype(np.uint8), fps=6)
        split = ("train", "train", "validation", "test")[(i // 7) % 4]
        rows.append((f"clips/{path.name}", f"a face of {label}", label, f"{split}{i % 5}", split))
    table = pd.DataFrame(rows, columns=["path", "caption", "label", "group", "split"])
    table.to_csv(study / "clips.csv", index=False)
    model = small_model.model_copy(update={"name": "emoclip"})
    save_checkpoint(
        study / "models" / "emoclip", built=build_model(model, seed=1), config=model, card={}
    )
    return study


def evaluated(folder: Path, output: Path, **settings: object) -> Evaluated:
    study = opened(folder, **settings)
    return run_evaluate(study, output=output, device="cpu")


def opened(folder: Path, **settings: object) -> Study:
    defaults: dict[str, object] = {"prompts": [PROMPTS], "bootstrap": {"resamples": 50}}
    keys = {f"evaluation.{key}": value for key, value in (defaults | settings).items()}
    return open_study(folder, settings=keys)


def test_zero_shot_writes_what_scikit_learn_confirms(folder: Path, tmp_path: Path) -> None:
    found = evaluated(
        folder, tmp_path, prompts=[PROMPTS, "basic_seven"], published={"uar": 10, "source": "S"}
    )
    assert found.folder == tmp_path / "zero_shot"
    record = json.loads((found.folder / "metrics.json").read_text())
    predictions = pd.read_csv(found.folder / "predictions.csv", dtype={"fold": str})
    assert list(predictions)[:6] == ["variant", "fold", "clip", "group", "observed", "predicted"]
    assert [v["variant"] for v in record["variants"]] == [PROMPTS, "basic_seven"]
    for variant in record["variants"]:
        own = predictions[predictions["variant"] == variant["variant"]]
        assert set(own["observed"]) == {"anger", "fear", "sadness", "surprise"}
        uar = balanced_accuracy_score(own["observed"], own["predicted"])
        assert variant["pooled"]["uar"]["value"] == pytest.approx(uar)
        assert variant["pooled"]["uar"]["ci_low"] <= uar <= variant["pooled"]["uar"]["ci_high"]
        scores = own.filter(like="score_").dropna(axis=1)
        highest = scores.idxmax(axis=1).str.removeprefix("score_")
        assert highest.tolist() == own["predicted"].tolist()
    table = pd.read_csv(folder / "clips.csv")
    assert set(table["split"].iloc[predictions["clip"]]) == {"test"}
    assert table["label"].iloc[predictions["clip"]].tolist() == predictions["observed"].tolist()
    confusion = pd.read_csv(found.folder / "confusion.csv")
    assert confusion.drop(columns=["variant", "observed"]).sum().sum() == len(predictions)
    assert len(record["differences"]) == 1
    assert record["published"] == {"uar": 10.0, "war": None, "source": "S"}
    assert (found.folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (found.folder / "confusion_basic_seven.png").is_file()
    assert any("6 test clips have a label that it lacks" in w for w in record["warnings"])
    for file in found.folder.iterdir():
        assert b".mp4" not in file.read_bytes()
        assert str(tmp_path).encode() not in file.read_bytes()


def test_the_same_bytes_again(folder: Path, tmp_path: Path) -> None:
    one = evaluated(folder, tmp_path / "one")
    two = evaluated(folder, tmp_path / "two")
    for name in ("metrics.json", "predictions.csv", "confusion.csv", "confusion.png"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_all_compositions_in_one_run(folder: Path, tmp_path: Path) -> None:
    names = ["mean", "weighted", "slerp", "similarity_product", "concatenated_prompt", "learned"]
    found = evaluated(
        folder,
        tmp_path,
        task="compound",
        compositions=names,
        composer={"epochs": 5, "combination_folds": 3},
    )
    record = json.loads((found.folder / "metrics.json").read_text())
    assert [v["variant"] for v in record["variants"]] == [f"{PROMPTS}/{n}" for n in names]
    assert len(record["differences"]) == 5
    for variant in record["variants"]:
        assert variant["n_clips"] == 14
        assert set(variant["pooled"]) == {"uar", "war", "macro_f1", "macro_auc", "component_auc"}
    # Two components with equal weights: the spherical mean is the mean.
    by_name = dict(zip(names, found.evaluation.variants, strict=True))
    mean, slerp = by_name["mean"].predictions, by_name["slerp"].predictions
    np.testing.assert_allclose(mean.scores, slerp.scores, atol=1e-5)


def test_out_of_vocabulary(folder: Path, tmp_path: Path) -> None:
    found = evaluated(folder, tmp_path, task="out_of_vocabulary", unknown_classes=["surprise"])
    (variant,) = found.evaluation.variants
    assert variant.predictions.classes[-1] == "none_of_these"
    assert "surprise" not in variant.predictions.classes
    record = json.loads((found.folder / "metrics.json").read_text())
    assert 0 <= record["variants"][0]["detection"]["auroc"]["value"] <= 1
    assert isinstance(record["variants"][0]["details"][""]["threshold"], float)


def test_linear_probe_looks_at_no_text(folder: Path, tmp_path: Path) -> None:
    found = evaluated(folder, tmp_path, task="supervised", method="linear_probe")
    (variant,) = found.evaluation.variants
    assert variant.name == "linear_probe"
    assert variant.details[""]["chosen_on"] == "validation"  # type: ignore[index]
    # Shades are told apart by any weights.
    assert variant.predictions.uar > 0.7
    (warning,) = found.evaluation.warnings
    assert warning.startswith("linear_probe: 6 of 14 test clips are left out")


def test_several_views_are_averaged(folder: Path, tmp_path: Path) -> None:
    one = evaluated(folder, tmp_path / "one")
    several = evaluated(folder, tmp_path / "several", views=3)
    a, b = (e.evaluation.variants[0].predictions for e in (one, several))
    # Clips that are no longer than a window have one view only.
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_what_is_evaluated_is_known_and_changes_are_seen(folder: Path) -> None:
    study = opened(folder)
    assert not is_evaluated(study)
    run_evaluate(study, device="cpu")
    assert is_evaluated(study)
    assert not is_evaluated(opened(folder, views=2))
    assert not is_evaluated(opened(folder, prompts=["basic_seven"]))
    manifest = folder / "clips.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace("surprise,test", "anger,test"))
    assert not is_evaluated(study)
    manifest.write_text(text)
    assert is_evaluated(study)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": [2]}, "must be of a source with folds, got 2"),
        ({"prompts": ["basic_seven", "basic_seven"]}, "two prompt sets are called 'basic_seven'"),
        ({"task": "leave_one_class_out", "held_out": ["joy"]}, "got 'joy'"),
        ({"data": "other.csv"}, "other.csv"),
        (
            {"task": "out_of_vocabulary", "unknown_classes": ["fear", "contemt"]},
            "unknown_classes must name .* got 'contemt'",
        ),
    ],
)
def test_refusals(folder: Path, tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluated(folder, tmp_path, **settings)


def test_people_whom_the_model_was_trained_on_are_named(
    folder: Path, tmp_path: Path, small_model: ModelConfig
) -> None:
    people = hash_people(["train0", "test1", "test3"], salt="x").as_card()
    save_checkpoint(
        tmp_path / "model",
        built=build_model(small_model, seed=1),
        config=small_model,
        card={"training_people": people},
    )
    study = opened(folder)
    leaky = run_evaluate(study, model_folder=tmp_path / "model", output=tmp_path, device="cpu")
    (warning,) = (w for w in leaky.evaluation.warnings if "training clips" in w)
    assert warning.startswith("2 of 5 people of the test clips are among")
    assert "(test1, test3)" in warning
    clean = run_evaluate(study, output=tmp_path, device="cpu")
    assert not any("training clips" in w for w in clean.evaluation.warnings)


def test_clips_that_the_model_was_trained_on_are_counted(
    folder: Path, tmp_path: Path, small_model: ModelConfig
) -> None:
    table = pd.read_csv(folder / "clips.csv")
    test = table[table["split"] == "test"]["path"].iloc[:3]
    contents = [hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in test]
    save_checkpoint(
        tmp_path / "model",
        built=build_model(small_model, seed=1),
        config=small_model,
        card={"training_clips": [content[:16] for content in contents]},
    )
    study = opened(folder)
    leaky = run_evaluate(study, model_folder=tmp_path / "model", output=tmp_path, device="cpu")
    assert any(w.startswith("3 of 14 test clips are among") for w in leaky.evaluation.warnings)


def test_a_linear_probe_with_a_model_for_each_fold_trains_it(folder: Path, tmp_path: Path) -> None:
    study = opened(folder, task="supervised", method="linear_probe", train_each_fold=True)
    (fold,) = load_folds(study, study.protocol.evaluation or EvaluationConfig())
    assert fold.training is not None
    by_text = opened(folder, task="supervised", train_each_fold=True)
    (fold,) = load_folds(by_text, by_text.protocol.evaluation or EvaluationConfig())
    assert fold.training is None


def test_a_task_that_trains_takes_no_model(folder: Path, tmp_path: Path) -> None:
    study = opened(folder, task="supervised")
    with pytest.raises(InputError, match="takes no --model"):
        run_evaluate(study, model_folder=folder / "models" / "emoclip", output=tmp_path)
