from __future__ import annotations

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.scales import parse_scale, scales
from emoclip_clinical.regression.targets import resolve_target, target_names

PANSS = [f"{letter}{k}" for letter, n in (("P", 7), ("N", 7), ("G", 16)) for k in range(1, n + 1)]


@pytest.mark.parametrize(
    ("name", "n_items", "minimum", "maximum"),
    [
        ("positive_symptoms", 7, 7, 49),
        ("negative_symptoms", 7, 7, 49),
        ("general_psychopathology", 16, 16, 112),
        ("panss_total", 30, 30, 210),
    ],
)
def test_panss_sums_have_the_published_ranges(name, n_items, minimum, maximum):
    target = resolve_target(name, PANSS)
    assert target == resolve_target(f"panss.{name}", PANSS)
    assert (target.name, len(target.items)) == (f"panss.{name}", n_items)
    assert (target.minimum, target.maximum) == (minimum, maximum)


def test_negative_symptoms_is_the_panss_sum_even_beside_such_a_column():
    assert resolve_target("negative_symptoms", [*PANSS, "negative_symptoms"]).items == tuple(
        f"N{k}" for k in range(1, 8)
    )
    with pytest.raises(InputError, match="column 'N7' is missing"):
        resolve_target("negative_symptoms", ["negative_symptoms", *PANSS[:13]])


def test_items_sums_of_items_and_plain_columns():
    item = resolve_target("N1", PANSS)
    assert (item.name, item.items, item.minimum, item.maximum) == ("panss.N1", ("N1",), 1, 7)
    sum_ = resolve_target("N1 + panss.N3", PANSS)
    assert (sum_.name, sum_.items, sum_.maximum) == ("panss.N1+N3", ("N1", "N3"), 14)
    plain = resolve_target("mood", ["mood"])
    assert (plain.name, plain.items, plain.minimum) == ("mood", ("mood",), None)
    mixed = resolve_target("N1+mood", ["N1", "mood"])
    assert (mixed.name, mixed.maximum) == ("N1+mood", None)
    for wrong in ("N1+N1", "N1+", "N1+negative_symptoms"):
        with pytest.raises(InputError):
            resolve_target(wrong, PANSS)


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(InputError, match=r"unknown; near names: .*negative_symptoms"):
        resolve_target("negativ_symptoms", PANSS)
    with pytest.raises(InputError, match="near names: mood_score"):
        resolve_target("Mood_Scor", ["mood_score"])
    with pytest.raises(InputError, match=r"known are .* and the numeric columns"):
        resolve_target("zzzzzz", ["mood"])


def test_what_a_face_can_show():
    panss = scales()["panss"]
    visible = {i.code for i in panss.items if i.face == "visible"}
    partly = {i.code for i in panss.items if i.face == "partly"}
    assert visible == {"N1"}
    assert partly == {"N3", "G2", "G4", "G6", "G7"}
    assert resolve_target("positive_symptoms", PANSS).visible_items == ()
    assert panss.codes == tuple(PANSS)
    assert "panss.negative_symptoms" in target_names()


def test_a_faulty_scale_file_lists_every_fault():
    text = """
name: Bad Scale
title: t
source: s
item_minimum: 0
item_maximum: 4
items: [{code: A, name: a, face: seen}, {code: B, name: b, face: visible}]
colour: red
"""
    with pytest.raises(InputError) as caught:
        parse_scale(text, name="bad.yaml")
    assert len(caught.value.faults) == 3
    assert all(f.startswith("scale bad.yaml: ") for f in caught.value.faults)
    repeated = """
name: s
title: t
source: s
item_minimum: 0
item_maximum: 4
items: [{code: A, name: a, face: visible}, {code: B, name: b, face: visible}]
sums: [{name: both, title: both, items: [A, C]}]
"""
    with pytest.raises(InputError, match="must count different items of the scale, got C"):
        parse_scale(repeated, name="s.yaml")
