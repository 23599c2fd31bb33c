"""`validate` finds the likeliest mistakes before anything is run, and shows no rating."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.checks import validate_study
from emoclip_clinical.study.history import read_history
from tests.study.locked_study import PEOPLE, build, ratings, write_ratings


@pytest.fixture
def study(tmp_path: Path) -> Path:
    build(tmp_path)
    write_ratings(tmp_path)
    return tmp_path


def faults(study: Path, *overrides: str, values: bool = True) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate_study(study, overrides=overrides, values=values)
    return list(caught.value.faults)


def of_interviews(study: Path) -> str:
    """Return the setting under which no table of features is there yet."""
    return "data.features=features"


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("side", ["interviews", "features"])
def test_nobody_was_both_recorded_and_rated(study: Path, values: bool, side: str) -> None:
    table = ratings(study)
    write_ratings(study, table.assign(participant_id=[f"p{i}" for i in range(len(table))]))
    setting = [of_interviews(study)] if side == "interviews" else []
    assert faults(study, *setting, values=values) == [
        f"{side} and ratings have no visit in common: {side} have {', '.join(PEOPLE[:3])} ...; the "
        "ratings have sub-p0, sub-p1, sub-p10 ..."
    ]


@pytest.mark.parametrize("side", ["interviews", "features"])
def test_leading_zeros_that_a_spreadsheet_took(study: Path, side: str) -> None:
    setting = [of_interviews(study)] if side == "interviews" else []
    table = ratings(study)
    people = [name.removeprefix("sub-") for name in PEOPLE]
    lost = (
        f"{{}} participants of the ratings differ from those of the {side} only by leading zeros "
        f"({{}} in the ratings, {{}} in the {side}): write them alike; a spreadsheet leaves a "
        "column as it is that is formatted as text"
    )
    write_ratings(study, table.assign(participant_id=[str(int(p)) for p in people]))
    assert faults(study, *setting, values=False)[1:] == [lost.format(18, "sub-0", PEOPLE[0])]
    write_ratings(study, table.assign(participant_id=[*people[:-3], *(p[1:] for p in people[-3:])]))
    assert faults(study, *setting, values=False) == [lost.format(3, "sub-15", PEOPLE[15])]


def test_who_has_both_is_counted(study: Path) -> None:
    write_ratings(study, ratings(study).iloc[:7])
    said = validate_study(study, values=False)
    assert "7 of 18 visits have a row in the ratings" in said
    assert read_history(study).looks == ()
    # Sessions of one side only: participants are matched.
    write_ratings(study, ratings(study).iloc[:7].assign(session_id="1"))
    assert "7 of 18 visits have a row" in validate_study(study, overrides=[of_interviews(study)])


@pytest.mark.parametrize("values", [True, False])
def test_columns_that_settings_name_are_looked_for(study: Path, values: bool) -> None:
    write_ratings(study, ratings(study).assign(age=40, site="a"))
    assert "no faults" in validate_study(
        study, overrides=["regression.confounds=[age]", "regression.site=site"], values=values
    )
    found = faults(
        study,
        "regression.site=sitte",
        "regression.confounds=[agee]",
        "regression.subgroups=[sexx]",
        values=values,
    )
    assert found == [
        "the ratings have no column 'agee', which the protocol names; near names: age",
        "the ratings have no column 'sexx', which the protocol names",
        "the ratings have no column 'sitte', which the protocol names; near names: site",
    ]
    write_ratings(study)
    assert faults(study, "regression.cv=leave_one_site_out", values=values)[0] == (
        "the ratings have no column 'site', which the protocol names"
    )


def test_more_folds_than_subjects(study: Path) -> None:
    write_ratings(study, ratings(study).iloc[:4])
    assert faults(study, "regression.folds=5", values=False) == [
        "regression.folds: 5 folds need at least 5 subjects, got 4 who stand in the features and "
        "in the ratings"
    ]


def test_a_model_of_segments_needs_them(study: Path) -> None:
    setting = "regression.model=mlp_probe"
    assert "data.features is a table" in faults(study, setting, values=False)[0]
    # What extract is yet to write may hold them.
    assert "no faults" in validate_study(study, overrides=[setting, of_interviews(study)])
    (study / "features").mkdir()
    assert "data.features has none" in faults(study, setting, of_interviews(study))[0]


def test_no_value_is_shown_where_none_is_to_be_read(study: Path) -> None:
    table = ratings(study)
    table.loc[3, "M2"] = "3,75"
    (study / "ratings.csv").write_text(table.to_csv(index=False, sep=";"))
    (fault,) = faults(study, values=False)
    assert fault == (
        "column 'M2' is written with decimal commas (row 5 of ratings.csv); write numbers with a "
        "decimal point"
    )
    table.loc[3, "M2"] = "1e160"
    write_ratings(study, table)
    (fault,) = faults(study, values=False)
    assert fault.startswith("column 'M2' holds a number beyond ±1e+50 (row 5 of ratings.csv)")
    (study / "ratings.csv").write_text("sub-1,4,6\nsub-2,3,5\n")
    assert faults(study, values=False) == [
        "ratings.csv: column 'participant_id' is missing; the first row holds numbers: the names "
        "of the columns are wanted there"
    ]
    assert read_history(study).looks == ()


@pytest.mark.parametrize("values", [True, False])
def test_a_target_that_is_named_twice(study: Path, values: bool) -> None:
    assert faults(study, "regression.targets=[mood.total, M1, M2+M1, m1]", values=values) == [
        "targets 'mood.total' and 'M2+M1' are the same: name it once",
        "targets 'M1' and 'm1' are the same: name it once",
    ]
