"""The page: right numbers, nothing from outside, no file names, readable without pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.regress import TargetResult, run_regress
from emoclip_clinical.study.report import NOTICE, read_result, render_report
from emoclip_clinical.study.report.document import Chance, Document, Links, Number, Span, number
from emoclip_clinical.study.report.page import document
from tests.study.report.conftest import SETTINGS, write_tables

HOSTILE = "<script>document.title='taken'</script>"
KEYS = (
    "standing", "participants", "recordings", "result", "figures", "models", "confounds",
    "quality-alone", "subgroups", "importance", "coefficients", "sensitivity", "visits", "ceiling",
    "curve", "audit", "published", "moments", "methods", "tripod", "probast", "provenance",
    "warnings",
)  # fmt: skip
SAID_ANYWAY = {0.0, 1.0, 2.5, 5.0, 10.0, 95.0, 97.5}
"""Numbers of the wording: 2.5 % to 97.5 %, groups below 10, 1 is ideal."""


class Reader(HTMLParser):
    """Collect text, tags and ids, and check that elements close in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str | None] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "defs"}:
            self.text.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def page(recorded: Path) -> str:
    return (recorded / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def record(recorded: Path) -> dict:
    return json.loads((recorded / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(recorded: Path) -> Document:
    return document(read_result(recorded))


def leaves(value: object) -> Iterator[float]:
    """Yield every number of a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        yield len(value)
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def words(value: object) -> Iterator[str]:
    """Yield every text of a JSON value."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from words(inner)
    elif isinstance(value, str):
        yield value


def test_every_section_is_there_in_order(made: Document) -> None:
    assert tuple(s.key for s in made.sections) == KEYS


def test_it_is_one_well_formed_page(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    referred = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)
    assert set(referred) <= set(reader.ids)
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in reader.tags}
    assert all("scope" in a for tag, a in reader.tags if tag == "th")


def test_nothing_comes_from_outside(page: str) -> None:
    tags = Reader(page).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_it_begins_with_the_result_and_ends_with_the_notice(page: str, record: dict) -> None:
    text = [t for t in Reader(page).text if t]
    start = " ".join(text[:12])
    r = record["pearson_r"]
    assert f"In 40 participants with {record['n_interviews']} visits" in start
    assert f"r = {r['fold_mean']:.2f} (95 % interval {r['ci_low']:.2f} to {r['ci_high']:.2f})" in (
        start
    )
    assert f"at r = {r['pooled']:.2f} over all folds" in start
    assert f"permutation p = {r['p_permutation']:.3f}" in start
    assert f"misses the rating by {record['mae']:.1f} scale points" in start
    assert "does not show that the result holds elsewhere" in start
    assert "A face can show of it: N1 blunted affect, N3 poor rapport (partly)." in start
    assert "A pilot & no more." in text
    assert text[-1] == NOTICE
    assert text.count(NOTICE) == 2


def test_every_number_of_a_table_is_one_of_the_metrics(made: Document, record: dict) -> None:
    known = set(leaves(record)) | {100 * x for x in leaves(record)}
    own = {"moments", "published", "provenance"}
    seen = 0
    for table in made.tables:
        for row in () if table.key in own else table.rows:
            for cell in row:
                values = (
                    (cell.low, cell.high)
                    if isinstance(cell, Span)
                    else (cell.value,)
                    if isinstance(cell, Number | Chance)
                    else (cell,)
                    if isinstance(cell, int)
                    else ()
                )
                for value in values:
                    assert value is None or value in known, (table.key, row)
                    seen += value is not None
    assert seen > 150


def test_every_number_of_a_sentence_is_one_of_the_metrics(made: Document, record: dict) -> None:
    values = [*leaves(record), *SAID_ANYWAY]
    values += [100 * v for v in values]
    skipped = {"methods", "provenance", "warnings", "standing", "moments", "published", "tripod"}
    sections = [s for s in made.sections if s.key not in skipped]
    texts = [made.sentence, *made.limits]
    texts += [t for s in sections for t in s.text]
    texts += [t for s in sections for p in s.pictures for t in (p.alt, p.caption)]
    texts += [
        cell
        for s in sections
        for t in s.tables
        for row in t.rows
        for cell in row[1:]
        if isinstance(cell, str)
    ]
    named = re.compile(r"[A-Za-z_][\w.]*\d[\w.]*|\([A-Z],1\)")
    seen = 0
    for text in set(texts) - set(words(record)):
        plain = named.sub("", text.replace("\N{MINUS SIGN}", "-"))
        for token in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?", plain):
            digits = len(token.partition(".")[2])
            assert any(f"{v:.{digits}f}" == token or f"{round(v, digits) + 0.0:.{digits}f}" == token
                       for v in values), (token, text)  # fmt: skip
            seen += 1
    assert seen > 60


@pytest.mark.usefixtures("no_pictures")
def test_a_number_that_is_not_of_the_metrics_would_be_found(
    change: Callable[..., Path], record: dict
) -> None:
    """The pages follow the file: another number there is another number here."""
    folder = change("metrics.json", mae=123.456)
    text = " ".join(Reader(render_report(read_result(folder))).text)
    assert "MAE 123.46" in text
    assert "misses the rating by 123.5" in text


def test_no_name_of_a_file_is_shown(page: str) -> None:
    for hidden in ("secret_ratings", "own_prompts", "videos\\", "Ann", "clinic/"):
        assert hidden not in page
    assert "left out)" in page
    assert "ab" * 32 in page


def test_the_standing_and_what_differs_from_the_lock(page: str) -> None:
    text = " ".join(Reader(page).text)
    assert "Standing: matches the lock" in text
    assert "ratings of this target that are recorded: 2." in text
    assert "extraction.prompts: (a file's name, left out) is new" in text


def test_every_picture_has_a_text(page: str, record: dict) -> None:
    pictures = [a for tag, a in Reader(page).tags if tag == "svg"]
    assert len(pictures) == 8 + record["n_interviews"]
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 30 for a in pictures)
    assert all("width" not in a and "viewbox" in a for a in pictures)
    assert "#0102" not in page  # every stand-in colour was replaced
    slope = record["calibration"]["slope"]
    assert any(f"slope {slope:.2f}" in (a["aria-label"] or "") for a in pictures)


def test_the_lists_for_authors_are_whole_and_lead_somewhere(made: Document) -> None:
    tables = {table.key: table for table in made.tables}
    assert [row[0] for row in tables["tripod"].rows] == [str(n) for n in range(1, 28)]
    assert sum(str(row[2]).endswith("for the author") for row in tables["tripod"].rows) > 8
    keys = {section.key for section in made.sections}
    for table in (tables["tripod"], tables["probast"]):
        places = [p for row in table.rows for p in row[-1].places if isinstance(row[-1], Links)]
        assert {key for _, key in places} <= keys
        assert len(places) >= 6


def test_the_methods_can_be_pasted(made: Document, record: dict) -> None:
    section = next(s for s in made.sections if s.key == "methods")
    text = " ".join(section.text)
    for part in ("5 folds, 2 repetitions", "5 inner folds", "60 permutations", "Age and sex",
                 "scikit-learn ", "numpy ", "Several raters of a visit were averaged"):  # fmt: skip
        assert part in text
    assert f"{record['n_interviews']} visits of 40 participants" in text
    references = " ".join(section.points)
    for author in ("Foteinopoulou", "Kay SR", "Nadeau", "Benjamini", "Bland", "Bakdash"):
        assert author in references


@pytest.mark.usefixtures("no_pictures")
def test_the_methods_tell_of_the_model_that_made_the_features(change: Callable[..., Path]) -> None:
    def said(**source: object) -> str:
        folder = change(
            "provenance.json",
            features=source,
            protocol__model={"tower": {"name": "ViT-of-the-protocol"}, "sample_fps": 6.25},
            protocol__extraction={"face": "detect", "detector": "yunet", "detection_fps": 2.0},
        )
        made = document(read_result(folder))
        return next(s for s in made.sections if s.key == "methods").text[0]

    text = said(
        sampling={"sample_fps": 4.0, "window_seconds": 4.0, "stride_seconds": 2.0},
        faces={"face": "whole_frame"},
        pooling={"statistics": ["mean", "embedding_sd"], "weights": "equal"},
        tower={"name": "emoclip-small-64", "pretrained": "none"},
    )
    assert text.startswith(
        "Interview videos were sampled at 4 pictures a second; pictures were used whole. Segments "
        "had 4 s, one every 2 s."
    )
    assert "image and text tower emoclip-small-64)" in text
    assert "(mean, embedding sd)" in text
    alone = said(tower={"name": "ViT-B-16", "temporal": "first_frame"})
    assert "(image and text tower ViT-B-16; a segment's first picture alone)" in alone
    assert "EmoCLIP" not in alone
    assert "tower ViT-B-16, pretrained weights laion" in said(
        tower={"name": "ViT-B-16", "pretrained": "laion"}
    )
    text = said(model={"hash": "ab"})
    assert "image and text tower [FOR THE AUTHOR: which]" in text
    assert "sampled at [FOR THE AUTHOR: how many] pictures a second" in text
    assert "yunet" not in text
    assert "ViT" not in text


WITHIN = "participants with the same visits and the same value of the column site, the whole"


@pytest.mark.parametrize(
    ("scheme", "site", "repeats", "said", "permuted"),
    [
        ("repeated_kfold", "site", 2,
         "(5 folds, 2 repetitions, each value of the column site spread over the folds)", WITHIN),
        ("repeated_kfold", None, 1, "(5 folds, 1 repetition)", "with the same visits, the whole"),
        ("balanced_kfold", "site", 2, "(5 folds, 2 repetitions)", WITHIN),
        ("leave_one_site_out", "site", 1,
         "(5 folds, one for each value of the column site)", WITHIN),
        ("leave_one_site_out", None, 1,
         "(5 folds, one for each value of the column site)", WITHIN),
        ("leave_one_subject_out", "site", 1, "(5 folds, one for each participant)", WITHIN),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_pictures")
def test_the_methods_say_what_sites_were_for(
    change: Callable[..., Path],
    scheme: str,
    site: str | None,
    repeats: int,
    said: str,
    permuted: str,
) -> None:
    folder = change("metrics.json", cv__scheme=scheme, cv__site=site, cv__repeats=repeats)
    made = document(read_result(folder))
    text = " ".join(next(s for s in made.sections if s.key == "methods").text)
    assert said in text
    assert permuted in text
    assert "1 repetitions" not in render_report(read_result(folder))


@pytest.mark.usefixtures("no_pictures")
def test_the_methods_tell_of_raters_without_a_ceiling(change: Callable[..., Path]) -> None:
    folder = change("metrics.json", human_ceiling=None)
    text = render_report(read_result(folder))
    assert "Several raters of a visit were averaged" in text
    folder = change("metrics.json", settings__several_raters=False)
    assert "Several raters" not in render_report(read_result(folder))


@pytest.mark.usefixtures("no_pictures")
def test_a_group_hidden_beside_a_small_one_is_not_called_small(
    change: Callable[..., Path], record: dict
) -> None:
    nothing = {"n_subjects": None, "mae": None, "bias": None}
    template = record["subgroups"][0] | nothing | {"variable": "ward"}
    groups = [
        template | {"level": "a", "hidden_because": "fewer than 10 subjects"},
        template | {"level": "b", "hidden_because": "hidden, so that ..."},
    ]
    made = document(read_result(change("metrics.json", subgroups=groups)))
    rows = next(t for t in made.tables if t.key == "subgroups").rows
    assert [row[2] for row in rows] == ["fewer than 10", "not shown"]


@pytest.mark.parametrize(("is_bound", "said"), [(True, "no more than 48"), (False, "about 48")])
@pytest.mark.usefixtures("no_pictures")
def test_a_bound_of_the_sample_size_is_called_one(
    change: Callable[..., Path], is_bound: bool, said: str
) -> None:
    folder = change(
        "metrics.json",
        learning_curve__suggested_subjects=48,
        learning_curve__suggested_is_upper_bound=is_bound,
    )
    made = document(read_result(folder))
    curve = next(s for s in made.sections if s.key == "curve")
    assert f"It suggests {said} participants" in curve.text[0]
    tables = {table.key: table for table in made.tables}
    hints = [str(row[1]) for key in ("tripod", "probast") for row in tables[key].rows]
    hints += [str(row[2]) for row in tables["tripod"].rows]
    assert sum(f"curve suggests {said}" in hint for hint in hints) == 2


def test_published_figures_stand_beside_ours(made: Document, record: dict) -> None:
    rows = next(t for t in made.tables if t.key == "published").rows
    assert [cell.value for cell in rows[0][1:3]] == [0.85, record["pearson_r"]["pooled"]]
    assert "the best of several" in str(rows[0][0])


def test_moments_name_times_and_the_strongest(made: Document, recorded: Path) -> None:
    table = pd.read_csv(recorded / "moments.csv")
    first = table[table["interview"] == "sub-000_ses-1"]
    strongest = first.loc[first["influence"].abs().idxmax()]
    row = next(t for t in made.tables if t.key == "moments").rows[0]
    seconds = strongest["onset"]
    assert row[:2] == ("sub-000_ses-1", f"{int(seconds // 60)}:{seconds % 60:04.1f}")
    assert row[3].value == pytest.approx(strongest["influence"])


@pytest.mark.usefixtures("no_pictures")
def test_what_is_planted_in_names_stays_text(
    copied: Path, two_targets: tuple[TargetResult, ...]
) -> None:
    page = render_report(read_result(two_targets[0].folder))
    assert HOSTILE not in page
    assert "document.title" in page  # the column's name is shown
    for name in ("moments.csv", "predictions.csv", "quality.csv"):
        path = copied / name
        text = path.read_text(encoding="utf-8").replace("sub-000", f'"{HOSTILE}"')
        path.write_text(text, encoding="utf-8")
    moments = pd.read_csv(copied / "moments.csv").assign(interview=HOSTILE)
    moments.to_csv(copied / "moments.csv", index=False)
    reader = Reader(render_report(read_result(copied)))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert any(HOSTILE in t for t in reader.text)


@pytest.mark.usefixtures("no_pictures")
def test_undefined_numbers_are_said(change: Callable[..., Path]) -> None:
    change("metrics.json", pearson_r__pooled=None, skill=None, null=None, p_adjusted=None)
    folder = change("metrics.json", calibration__slope=None, intervals=None, recordings=None)
    page = render_report(read_result(folder))
    assert "predictions of panss.negative_symptoms do not vary, so r is not defined." in page
    text = " ".join(Reader(page).text)
    assert "Pearson r, pooled not defined" in text
    assert "The features came without recording quality." in text
    assert not re.search(r"\b(nan|NaN|None)\b", text)
    assert "Histogram of r" not in page


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.3, "no more than permuted ratings may give by chance (permutation p = 0.300)"),
        (0.0001, "more than permuted ratings give by chance (permutation p below 0.001)"),
        (None, "whether that is more than chance was not tested"),
    ],
)
@pytest.mark.usefixtures("no_pictures")
def test_chance_is_called_chance(change: Callable[..., Path], p: float | None, said: str) -> None:
    folder = change("metrics.json", pearson_r__p_permutation=p)
    assert said in render_report(read_result(folder))


@pytest.mark.usefixtures("no_pictures")
def test_a_result_without_extras_has_no_empty_sections(change: Callable[..., Path]) -> None:
    folder = change(
        "metrics.json", human_ceiling=None, repeated_visits=None, importance=[], subgroups=[],
        sensitivity=[], confounds=None, quality_alone=None, coefficients={"n": 0, "largest": []},
    )  # fmt: skip
    (folder / "moments.csv").unlink()
    made = document(read_result(folder))
    gone = {"ceiling", "visits", "importance", "coefficients", "moments"}
    assert not gone & {s.key for s in made.sections}
    assert "No column of the ratings makes subgroups" in render_report(read_result(folder))


def _checklists(folder: Path) -> str:
    made = document(read_result(folder))
    rows = [row for t in made.tables if t.key in ("tripod", "probast", "fitted") for row in t.rows]
    return "\n".join(" | ".join(map(str, row)) for row in rows)


@pytest.mark.usefixtures("no_pictures")
def test_nothing_is_vouched_for_that_is_not_known(
    two_targets: tuple[TargetResult, ...], change: Callable[..., Path]
) -> None:
    # Columns of another tool's table may have been picked by their correlation with the rating.
    elsewhere = _checklists(two_targets[0].folder)
    assert elsewhere.count("not known: made elsewhere; for the author to say") == 4
    assert "None in the splits; how the columns were chosen is not known." in elsewhere
    vouched = ("fixed before", "Made without the ratings", "No sign of a leak", "the same steps")
    for words_ in vouched:
        assert words_ not in elsewhere
    known = _checklists(change("metrics.json"))
    for words_ in vouched:
        assert words_ in known
    chosen = _checklists(change("provenance.json", protocol__regression__feature_columns=["m*"]))
    assert "fixed before any rating" not in chosen
    assert "No sign of a leak" not in chosen
    assert "columns chosen by name (feature_columns); for the author to say" in chosen
    assert "Made without the ratings" in chosen


@pytest.mark.usefixtures("no_pictures")
def test_the_flow_says_whether_its_steps_are_parts_of_each_other(
    change: Callable[..., Path], record: dict
) -> None:
    def caption(folder: Path) -> str:
        made = document(read_result(folder))
        return next(t for t in made.tables if t.key == "flow").caption

    loss = {"stage": "rating", "reason": "N1 is missing", "visits": 1}
    said = "Each step is a part of the one before it"
    told = caption(change("metrics.json", losses=[loss]))
    assert told == f"{said}, less visits that are listed below."
    assert caption(change("metrics.json", losses=[])) == f"{said}."
    before = [{"step": "in the features", "participants": 9, "visits": 9}, *record["flow"][1:]]
    told = caption(change("metrics.json", flow=before))
    assert told.startswith("Features and ratings are counted")


@pytest.mark.usefixtures("no_pictures")
def test_features_of_another_tool_are_not_called_video(
    two_targets: tuple[TargetResult, ...], change: Callable[..., Path]
) -> None:
    def words_of(folder: Path) -> str:
        made = document(read_result(folder))
        keys = {"models", "confounds", "quality-alone", "methods", "tripod", "probast"}
        sections = [s for s in made.sections if s.key in keys]
        cells = [str(c) for s in sections for t in s.tables for row in t.rows for c in row]
        return " | ".join([*(p for s in sections for p in s.text), *cells])

    elsewhere = words_of(two_targets[0].folder)
    assert "video" not in elsewhere.casefold()
    for part in (
        "covariates and features",
        "the gain from the features beside them",
        "partial r of features and rating",
        "Age and sex were compared with the features alone",
    ):
        assert part in elsewhere
    ours = words_of(change("metrics.json", confounds=None, human_ceiling=None))
    assert "No covariate was compared with the video" in ours
    assert "whether blind to the video" in ours


def test_a_change_in_per_cent_is_not_reported_in_scale_points(tmp_path: Path) -> None:
    write_tables(tmp_path, n_subjects=40)
    settings = SETTINGS | {
        "regression.targets": ["percent_change(negative_symptoms)"],
        "regression.repeats": 1,
        "regression.permutations": 0,
        "regression.raters": "first",
    }
    (made,) = run_regress(
        open_study(tmp_path, settings=settings), features=tmp_path / "features.csv"
    )
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert metrics["settings"]["unit"] == "per cent"
    pages = {path.name: path.read_text(encoding="utf-8") for path in made.folder.rglob("*.csv")}
    pages |= {path.name: path.read_text(encoding="utf-8") for path in made.folder.rglob("*.md")}
    report = (made.folder / "report.html").read_text(encoding="utf-8")
    for name, text in (pages | {"report.html": report}).items():
        assert "scale points" not in text.casefold(), name
    shown = " ".join(Reader(report).text)
    assert f"misses the rating by {number(metrics['mae'], 1)} percentage points on average" in shown
    # Once for the reader, once to be pasted.
    assert shown.count("100 (first - now) / (first - k) per cent") == 2
    assert "Above 0 is an improvement" in shown
    assert "Unit of the target: per cent" in pages["model_card.md"]
    assert "mean absolute error, percentage points" in pages["model_card.md"]


@pytest.mark.usefixtures("no_pictures")
def test_the_learning_curve_is_no_answer_to_sample_size(change: Callable[..., Path]) -> None:
    curve = {"learning_curve__suggested_subjects": 12}
    riley = {"features": 4, "r_squared": 0.25, "riley_subjects": 238}
    said = _checklists(change("metrics.json", sample_size=riley, **curve))
    assert said.count("suggests about 12, a rough extrapolation that settles no sample size") == 2
    assert (
        said.count("Riley's criteria ask for 238 to develop a model of 4 features at the R²") == 2
    )
    said = _checklists(change("metrics.json", sample_size=None, **curve))
    assert said.count("Riley's criteria have no number here") == 2
