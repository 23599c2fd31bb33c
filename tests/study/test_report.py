"""The report: right numbers, nothing from outside, no file names, readable without pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import FeatureTable, Ratings
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.regression.supplement import supplement
from emoclip_clinical.study.report import NOTICE, render_report
from emoclip_clinical.study.report_sections import number, sections, span

PROVENANCE = {
    "command": "regress",
    "protocol": {
        "seed": 3,
        "data": {"ratings": "clinic/secret_ratings.csv"},
        "features": {"prompts": ["emotions", "own_prompts.yaml"], "weights": "/home/ann/w.pt"},
    },
    "inputs": {"ratings": "ab" * 32},
    "packages": {"numpy": "2.4.6"},
    "features": {"model": {"sha256": "cd" * 32}, "folder": "C:\\videos\\Ann"},
}


def cohort(n_subjects, *, target="panss.N1+N3"):
    rng = np.random.default_rng(0)
    keys = pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(n_subjects)]})
    keys["session_id"] = ""
    trait = rng.normal(size=n_subjects)
    X = pd.DataFrame(rng.normal(size=(n_subjects, 3)), columns=["smile", "brow<b>", "lid"])
    X["smile"] += 2 * trait
    nobody = pd.DataFrame(columns=["participant_id", "session_id", "reason"])
    lost = pd.DataFrame([["sub-lost", "", "no_face"]], columns=nobody.columns)
    ratings = Ratings(
        target=target,
        items=("N1", "N3"),
        keys=keys,
        values=np.clip(np.round(7 + 2 * trait), 2, 14),
        minimum=2.0,
        maximum=14.0,
        excluded=nobody,
        covariates=pd.DataFrame(index=keys.index),
    )
    return join(FeatureTable(keys, X, lost), ratings)


@pytest.fixture(scope="module")
def made():
    config = RegressionConfig(folds=4, repeats=3, inner_folds=3, permutations=60, bootstrap=200)
    return estimate(cohort(30), config=config, seed=0)


@pytest.fixture(scope="module")
def page(made):
    quality = pd.DataFrame({"status": ["ok", "ok", "partial"], "face_coverage": [0.5, 0.9, 1.0]})
    return render_report(made, provenance=PROVENANCE, quality=quality, notes=["A note & more."])


class Reader(HTMLParser):
    """Collect text, tags and ids, and check that elements close in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.tags, self.ids = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in {"style", "defs"}:
            self.text.append(" ".join(data.split()))


def test_it_is_one_well_formed_page(page):
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    referred = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)
    assert set(referred) <= set(reader.ids)


def test_nothing_comes_from_outside(page):
    tags = Reader(page).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    addresses = {a for a in re.findall(r"https?://[^\s\"'<>]+", page)}
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_it_begins_with_the_result_and_ends_with_the_notice(made, page):
    text = [t for t in Reader(page).text if t]
    start = " ".join(text[:8])
    m = made.metrics
    assert "In 30 participants with 30 visits, ratings of panss.N1+N3" in start
    assert f"r = {m.pearson_pooled:.2f}" in start
    assert f"r = {m.pearson_fold_mean:.2f} (95 % interval" in start
    assert f"{made.interval.low:.2f} to {made.interval.high:.2f}" in start
    assert f"permutation p = {made.p_permutation:.3f}" in start
    assert f"misses by {m.mae:.1f} scale points" in start
    assert "does not show that the result holds elsewhere" in start
    assert text[-1] == NOTICE
    assert text.count(NOTICE) == 2


def test_the_tables_hold_the_numbers(made, page):
    text = " | ".join(t for t in Reader(page).text if t)
    m = made.metrics
    for name, value in (("CCC", m.ccc), ("MAE", m.mae), ("Skill", m.skill)):
        assert f"{name} | {value:.2f} |" in text
    assert "status | 2 ok, 1 partial" in text
    assert "face_coverage | median 0.9, 0.5 to 1" in text
    assert "A face can show of it: N1 blunted affect, N3 poor rapport (partly)." in text
    assert "1 visit without usable features" not in text
    assert "with features, without a rating | features without a rating | 1" in text
    assert "brow<b>" in text
    assert "A note & more." in text


def test_no_name_of_a_file_is_shown(page):
    for hidden in ("secret_ratings", "own_prompts", "/home/ann", "w.pt", "Ann", "clinic"):
        assert hidden not in page
    assert "left out)" in page
    assert "ab" * 32 in page
    assert "2.4.6" in page


def test_every_picture_has_a_text(made, page):
    pictures = [a for tag, a in Reader(page).tags if tag == "svg"]
    assert len(pictures) == 6
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in pictures)
    assert all("width" not in a and "viewbox" in a for a in pictures)
    assert "#0102" not in page  # every stand-in colour was replaced
    slope = made.metrics.calibration_slope
    assert any(f"slope {slope:.2f}" in a["aria-label"] for a in pictures)


def test_the_same_result_gives_the_same_page(made):
    assert render_report(made, provenance={}) == render_report(made, provenance={})


def test_undefined_numbers_are_said(made):
    cv = made.cross_validation
    constant = replace(cv, predicted=np.full_like(cv.predicted, 7.0))
    blank = replace(made, cross_validation=constant, null=np.empty(0), p_adjusted=None)
    page = render_report(blank, provenance={})
    assert "predictions of panss.N1+N3 do not vary, so r is not defined." in page
    text = " ".join(Reader(page).text)
    assert "Pearson r, pooled not defined" in text
    assert not re.search(r"\bnan\b", page, flags=re.IGNORECASE)
    assert "Permutation test" not in page


def test_chance_is_called_chance(made):
    high = replace(made, null=np.ones(60))
    assert "no more than permuted ratings may give by chance (permutation p = 1.000)" in (
        render_report(high, provenance={})
    )
    untested = replace(made, null=np.empty(0), p_adjusted=None)
    assert "whether that is more than chance was not tested" in (
        render_report(untested, provenance={})
    )


@pytest.fixture(scope="module")
def whole(made):
    """The estimate with covariates, quality and another model, and its supplement."""
    design = made.design
    n = len(design.y)
    table = pd.DataFrame(
        {"age": np.arange(n) * 1.7 % 40 + 20, "sex": np.where(np.arange(n) % 3, "f", "m")}
    )
    config = made.config.model_copy(update={"compare": ("pls",)})
    found = estimate(replace(design, covariates=table), config=config, seed=0)
    quality = design.keys.assign(face_coverage=np.linspace(0.5, 1, n) ** 2)
    return found, supplement(found, quality=quality)


def test_the_sections_hold_the_numbers_of_the_metrics(whole):
    found, more = whole
    page = render_report(found, provenance={}, more=more)
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    for key in ("models", "confounds", "quality-alone", "agreement", "subgroups", "sensitivity",
                "curve", "importance", "audit"):  # fmt: skip
        assert (key in reader.ids) == (key != "curve" or bool(more.curve.points))
    text = " | ".join(t for t in reader.text if t)
    record = metrics_record(found, more)
    for model in record["models"]:
        assert f"{number(model['mae'])} | {number(model['rmse'])}" in text
    gain = record["confounds"]["gain_r"]
    assert (
        f"gain from video | {number(gain['value'])} | {span(gain['ci_low'], gain['ci_high'])}"
        in text
    )
    assert "participants on both sides of one | 0" in text
    assert "m | 10 |" in text
    assert not re.search(r"\bnan\b", text, flags=re.IGNORECASE)
    assert "None" not in text


def test_no_section_is_made_of_anything_but_the_record(whole):
    import json

    record = metrics_record(*whole)
    again = json.loads(json.dumps(record))
    assert sections(again) == sections(record)


def test_numbers_never_show_a_negative_zero():
    assert number(-0.001) == "0.00"
    assert number(-0.5) == "\N{MINUS SIGN}0.50"
    assert number(None) == "not defined"
    assert span(None, 1.0) == "none"
