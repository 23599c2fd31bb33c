"""Model cards and data statements: what a model or estimator is for, and what it learned from.

They are filled from what the files know. What only its authors can know says so, for them to
replace; writing a card again then asks nobody, so authors keep their text in a file of its own.
The headings follow Mitchell et al. (2019), Model Cards for Model Reporting, and Bender and
Friedman (2018), Data Statements for Natural Language Processing, as far as they fit faces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclip_clinical.people import known_people
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.estimator_files import NOTICE
from emoclip_clinical.study.leak_guard import CARD_PART

MODEL_CARD, DATA_STATEMENT = "model_card.md", "data_statement.md"
FOR_THE_AUTHOR = "*For the author.*"
Record = Mapping[str, Any]


def write_model_documents(folder: Path, *, evaluations: Iterable[Record] = ()) -> None:
    """Write ``model_card.md`` and ``data_statement.md`` beside a model; same model, same bytes.

    Parameters
    ----------
    folder : Path
        A model folder.
    evaluations : iterable of mapping
        Contents of the ``metrics.json`` of evaluations; those of other models are left out.

    Raises
    ------
    InputError
        If it is no model folder.
    """
    from emoclip_clinical.core.checkpoint import model_hash, read_card

    card = read_card(folder)
    own = model_hash(card)
    of_this = [e for e in evaluations if own in e["source"]["model_hashes"].values()]
    _write(folder / MODEL_CARD, _model_card(card, of_this, own))
    _write(folder / DATA_STATEMENT, _model_statement(card))


def study_evaluations(study: Path) -> list[Record]:
    """Return the metrics of every evaluation in a study's folder, in order of their places."""
    places = sorted((study / "evaluation").rglob("metrics.json"))
    return [json.loads(place.read_text(encoding="utf-8")) for place in places]


def write_estimator_statement(design: Design, folder: Path) -> None:
    """Write ``data_statement.md`` beside an estimator: whom it was fitted to, as numbers.

    Parameters
    ----------
    design : Design
        What it was fitted to.
    folder : Path
        ``results/<target>/estimator``.
    """
    y = design.y
    known = (
        ("Target", f"{design.target} (items: {', '.join(design.items)})"),
        ("Participants", f"{design.n_subjects}"),
        ("Rows, one a visit (and rater, where raters are repeated)", f"{len(y)}"),
        ("Visits left out, with reasons in excluded.csv", f"{design.n_excluded}"),
        ("Ratings", f"mean {y.mean():.2f}, standard deviation {y.std(ddof=1):.2f}"),
        ("Features", f"{len(design.feature_names)} columns"),
    )
    text = _statement(f"an estimator of {design.target}", known, _asked_of_ratings())
    _write(folder / DATA_STATEMENT, text)


def _model_card(card: Record, evaluations: Sequence[Record], own_hash: str) -> str:
    architecture = card["architecture"]
    tower, temporal = architecture["tower"], architecture["temporal"]
    lines = [
        f"# Model {architecture['name']}",
        "",
        f"**{NOTICE}**",
        "",
        "## What it is",
        "",
        "An EmoCLIP model: clips of faces and sentences become vectors, and the cosine between "
        "them is a score. A score is no measurement of what a person feels.",
        "",
        f"- Towers: {tower['name']}, begun from {_weights(tower['pretrained'])}"
        + ("" if tower.get("text", True) else "; no text tower, so it refuses texts"),
        f"- Temporal part: {temporal['kind']}"
        + (f", {temporal['layers']} layers" if temporal["kind"] == "transformer" else ""),
        f"- Sees {architecture['frames_per_clip']} frames a clip, {architecture['sample_fps']:g} "
        "a second",
        f"- Hash: {own_hash}",
        "",
        "## What it is for",
        "",
        "- Research on facial expression: scores and embeddings of recorded clips.",
        "- Not for diagnosis or treatment, for judging single persons, for hiring, policing or "
        "surveillance, and not for people who did not agree to be analysed.",
        "",
        "## How it was made",
        "",
        *_training(card),
        "",
        "## How good it is",
        "",
        *_performance(evaluations),
        "",
        "## Limits",
        "",
        "- Faces, cameras, lights, ages, cultures and disorders that its clips do not show may be "
        "scored wrongly; nobody has looked, unless a line above says so.",
        "- Scores depend on the wording of the prompts.",
        *(f"- {text}" for text in _people_limits(card)),
        f"- Performance by sex, age, skin tone and diagnosis: {FOR_THE_AUTHOR}",
    ]
    return "\n".join(lines) + "\n"


def _weights(pretrained: str) -> str:
    return "random weights" if pretrained == "none" else f"weights {pretrained}"


def _training(card: Record) -> list[str]:
    imported = card.get("imported")
    if imported:
        return [
            f"- Imported from the EmoCLIP authors' checkpoint (SHA-256 {imported['file_sha256']}), "
            f"{imported['form']} form; text tower: {imported['text_tower']}",
            "- How it was trained: see arXiv 2310.16640; the file itself does not say.",
        ]
    training = card.get("training")
    if not training:
        return ["- Nothing is known of its training."]
    if training["frame_epochs"] + training["epochs"] == 0:
        return ["- Not trained here: its temporal part has random weights."]
    selected = card.get("selected", {})
    return [
        f"- Trained on {card['n_training_clips']} clips, {card['n_validation_clips']} more to "
        "choose by; the captions' vocabulary is in model.json",
        f"- Epochs: {training['frame_epochs']} on frames, {training['epochs']} on clips; towers "
        f"{training['towers']}; captions: {training['captions']}; seed {card['seed']}",
        f"- Weights chosen by {selected.get('rule')}"
        + (", **which used test data**" if selected.get("by_test_data") else ""),
        f"- Warnings of the training: {len(card.get('warnings', ()))} (in model.json)",
    ]


def _performance(evaluations: Sequence[Record]) -> list[str]:
    rows = [
        f"| {e['task']} | {v['variant']} | {v['n_clips']} | {v['n_people'] or 'not known'} "
        f"| {_share(v['chance'])} | {_figure(v['pooled'].get('uar'))} "
        f"| {_figure(v['pooled'].get('war'))} |"
        for e in evaluations
        for v in e["variants"]
    ]
    if not rows:
        return ["Not judged on labelled clips: `emoclip-clinical evaluate` does."]
    return [
        "| task | variant | clips | people | chance | UAR | WAR |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _figure(figure: Record | None) -> str:
    if figure is None or figure.get("value") is None:
        return "not defined"
    low, high = figure.get("ci_low"), figure.get("ci_high")
    ends = "" if low is None else f" ({_share(low)} to {_share(high)})"
    return f"{_share(figure['value'])}{ends}"


def _share(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.1f} %"


def _people_limits(card: Record) -> list[str]:
    found = known_people((), card.get(CARD_PART))
    if found.coverage == "complete":
        return [
            f"Its {found.n_people} training people are known by salted hashes: `regress` refuses "
            "participants who are among them."
        ] * (found.n_clips > 0)
    return [
        "For some or all of its training clips nobody said who is in them, so it can not be ruled "
        "out that a study's participants are among them."
    ]


def _model_statement(card: Record) -> str:
    people = known_people((), card.get(CARD_PART))
    unknown = "not known"
    known = (
        ("Clips that it learned from", f"{card.get('n_training_clips', unknown)}"),
        ("Clips that chose its weights", f"{card.get('n_validation_clips', unknown)}"),
        ("Different people in the clips that were looked at", f"{people.n_people or unknown}"),
        ("Clips that name no person", f"{people.n_clips_without_person or 0}"
         if people.n_clips else unknown),
        ("Different words in the captions", f"{len(card.get('vocabulary', ())) or unknown}"),
        ("SHA-256 of the clips and what is said of them", f"{card.get('clips_sha256', unknown)}"),
    )  # fmt: skip
    return _statement(f"model {card['architecture']['name']}", known, _asked_of_clips())


def _asked_of_clips() -> tuple[tuple[str, str], ...]:
    return (
        ("Why these clips", "where they come from, how they were chosen, their version"),
        ("Who is in them", "age, sex, ethnicity, language, diagnosis; acted or lived"),
        ("Who described them", "training, number, agreement; their language; by machine?"),
        ("How they were recorded", "camera, light, distance, what people were asked to do"),
        ("Rights and consent", "licence of the clips; whether those in them agreed to this use"),
        ("What is missing", "people, expressions and situations that are not in them"),
    )  # fmt: skip


def _asked_of_ratings() -> tuple[tuple[str, str], ...]:
    return (
        ("Who took part", "setting, diagnosis, stage, medication, age, sex, ethnicity, language"),
        ("How they were chosen", "criteria, recruitment, who declined, who dropped out"),
        ("Who rated", "profession, training, reliability; whether they saw the videos"),
        ("How interviews were recorded", "questions, camera, light, distance, who else is seen"),
        ("Consent", "what participants agreed to, who may use the estimator, how to withdraw"),
        ("What is missing", "people to whom these numbers say nothing"),
    )  # fmt: skip


def _statement(of: str, known: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]]) -> str:
    lines = [f"# Data statement of {of}", "", f"**{NOTICE}**", "", "## What the files say", ""]
    lines += [f"- {name}: {value}" for name, value in known]
    lines += ["", "## What only the authors know", ""]
    lines += [f"- {name} ({hint}): {FOR_THE_AUTHOR}" for name, hint in asked]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
