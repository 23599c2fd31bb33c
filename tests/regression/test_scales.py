from __future__ import annotations

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.scales import load_scales, parse_scale, scales
from emoclip_clinical.regression.targets import resolve_target, target_names

PANSS = [f"{letter}{k}" for letter, n in (("P", 7), ("N", 7), ("G", 16)) for k in range(1, n + 1)]
OWN = """
name: mood
title: Mood scale
source: "A. Uthor (2020)."
item_minimum: 0
item_maximum: 3
items: [{code: M1, name: one, face: visible}, {code: M2, name: two, face: not_visible}]
sums:
  - {name: total, title: total, items: [M1, M2]}
  - {name: gap, title: difference, items: [M1], minus: [M2]}
"""


def numbered(prefix, *runs):
    return [f"{prefix}{k}" for first, last in runs for k in range(first, last + 1)]


# Ranges and items as published; those of the reference that the project rests on.
@pytest.mark.parametrize(
    ("name", "items", "minimum", "maximum"),
    [
        ("positive_symptoms", numbered("P", (1, 7)), 7, 49),
        ("negative_symptoms", numbered("N", (1, 7)), 7, 49),
        ("general_psychopathology", numbered("G", (1, 16)), 16, 112),
        ("panss_total", PANSS, 30, 210),
        ("composite", numbered("P", (1, 7)) + numbered("N", (1, 7)), -42, 42),
        ("panss_6", ["P1", "P2", "P3", "N1", "N4", "N6"], 6, 42),
        ("marder_positive", ["P1", "P3", "P5", "P6", "N7", "G1", "G9", "G12"], 8, 56),
        ("marder_negative", ["N1", "N2", "N3", "N4", "N6", "G7", "G16"], 7, 49),
        ("marder_disorganised", ["P2", "N5", "G5", "G10", "G11", "G13", "G15"], 7, 49),
        ("marder_hostility", ["P4", "P7", "G8", "G14"], 4, 28),
        ("marder_anxiety_depression", ["G2", "G3", "G4", "G6"], 4, 28),
        ("wallwork_positive", ["P1", "P3", "P5", "G9"], 4, 28),
        ("wallwork_negative", ["N1", "N2", "N3", "N4", "N6", "G7"], 6, 42),
        ("wallwork_disorganised", ["P2", "N5", "G11"], 3, 21),
        ("wallwork_excited", ["P4", "P7", "G8", "G14"], 4, 28),
        ("wallwork_depressed", ["G2", "G3", "G6"], 3, 21),
        ("liemburg_expressive", ["N1", "N3", "N6", "G5", "G7", "G13"], 6, 42),
        ("liemburg_experiential", ["N2", "N4", "G16"], 3, 21),
        ("khan_expressive", ["N1", "N3", "N6", "G7"], 4, 28),
    ],
)
def test_panss_scores_have_the_published_items_and_ranges(name, items, minimum, maximum):
    target = resolve_target(f"panss.{name}", PANSS)
    assert list(target.items) == items
    assert (target.minimum, target.maximum) == (minimum, maximum)
    if name != "composite":
        assert target == resolve_target(name, PANSS)


@pytest.mark.parametrize(
    ("name", "columns", "n_items", "minimum", "maximum"),
    [
        ("cains.map", numbered("C", (1, 13)), 9, 0, 36),
        ("cains.exp", numbered("C", (1, 13)), 4, 0, 16),
        ("bnss.total", numbered("BNSS", (1, 13)), 13, 0, 78),
        ("bnss.map", numbered("BNSS", (1, 13)), 7, 0, 42),
        ("bnss.exp", numbered("BNSS", (1, 13)), 5, 0, 30),
        ("sans.composite", numbered("SANS", (1, 25)), 20, 0, 100),
        ("sans.summary", numbered("SANS", (1, 25)), 5, 0, 25),
        ("sans_ds000030.composite", numbered("sans", (1, 24)), 19, 0, 95),
        ("sans_ds000030.summary", numbered("sans", (1, 24)), 5, 0, 25),
        ("sans_ds000030.attention_mean", numbered("sans", (1, 24)), 2, 0, 5),
        ("saps.composite", numbered("SAPS", (1, 34)), 30, 0, 150),
        ("saps.summary", numbered("SAPS", (1, 34)), 4, 0, 20),
        ("saps_ds000030.composite", numbered("saps", (1, 35)), 30, 0, 150),
        ("saps_ds000030.summary", numbered("saps", (1, 35)), 5, 0, 25),
        ("bprs_18.total", numbered("BPRS", (1, 18)), 18, 18, 126),
        ("bprs_18_from_zero.total", numbered("BPRS", (1, 18)), 18, 0, 108),
        ("bprs_24.total", numbered("bprs", (1, 24)), 24, 24, 168),
        ("cdss.total", numbered("CDSS", (1, 9)), 9, 0, 27),
        ("cgi_s.CGI_S", ["CGI_S"], 1, 1, 7),
    ],
)
def test_other_scales_have_the_published_ranges(name, columns, n_items, minimum, maximum):
    target = resolve_target(name, columns)
    assert len(target.items) == n_items
    assert (target.minimum, target.maximum) == (minimum, maximum)
    # The case of a column is not told apart from its item's code.
    assert [c.upper() for c in target.columns] == [i.upper() for i in target.items]


def test_globals_are_in_the_summary_and_never_in_the_composite():
    for name, codes in (
        ("sans", [8, 13, 17, 22, 25]),
        ("sans_ds000030", [7, 11, 16, 21, 24]),
        ("saps", [7, 20, 25, 34]),
        ("saps_ds000030", [7, 20, 25, 34, 35]),
    ):
        scale = scales()[name]
        scores = {s.name: set(s.items) for s in scale.sums}
        assert scores["summary"] == {f"{name[:4].upper()}{k}" for k in codes}
        assert scores["composite"] == set(scale.codes) - scores["summary"]
        named = {i.code for i in scale.items if i.name.startswith("global rating")}
        assert named == scores["summary"] - {"SAPS35"}


def test_negative_symptoms_is_the_panss_sum_even_beside_such_a_column():
    assert resolve_target("negative_symptoms", [*PANSS, "negative_symptoms"]).items == tuple(
        f"N{k}" for k in range(1, 8)
    )
    with pytest.raises(InputError, match="column 'N7' is missing"):
        resolve_target("negative_symptoms", ["negative_symptoms", *PANSS[:13]])


def test_items_sums_of_items_and_plain_columns():
    item = resolve_target("N1", PANSS)
    assert (item.name, item.items, item.minimum, item.maximum) == ("panss.N1", ("N1",), 1, 7)
    sum_ = resolve_target("N1+N3+N6", PANSS)
    assert (sum_.name, sum_.minimum, sum_.maximum) == ("panss.N1+N3+N6", 3, 21)
    sum_ = resolve_target("N1 + panss.N3", PANSS)
    assert (sum_.name, sum_.items, sum_.maximum) == ("panss.N1+N3", ("N1", "N3"), 14)
    plain = resolve_target("mood", ["mood"])
    assert (plain.name, plain.items, plain.minimum) == ("mood", ("mood",), None)
    mixed = resolve_target("N1+mood", ["N1", "mood"])
    assert (mixed.name, mixed.maximum) == ("N1+mood", None)
    # 1 to 7 of the PANSS and 0 to 4 of the CAINS.
    across = resolve_target("N6+C13", ["N6", "C13"])
    assert (across.minimum, across.maximum, across.visible_items) == (1, 11, ())
    assert resolve_target("N6+C10", ["N6", "C10"]).visible_items == ("C10",)
    for wrong in ("N1+N1", "N1+", "N1+negative_symptoms", "N1+panss.n1"):
        with pytest.raises(InputError):
            resolve_target(wrong, PANSS)


def test_names_that_scales_share_must_be_qualified():
    columns = numbered("SANS", (1, 25))
    with pytest.raises(InputError, match=r"may mean sans\.SANS1, sans_ds000030\.SANS1: write one"):
        resolve_target("sans1", columns)
    with pytest.raises(InputError, match=r"'total' may mean bnss\.total, bprs_18\.total"):
        resolve_target("total", ["BNSS1"])
    # A table's own column of that name is taken where no scale's items are there.
    assert resolve_target("total", ["total"]).scale is None
    with pytest.raises(InputError, match=r"may mean the column or cdss\.total"):
        resolve_target("total", ["total", *numbered("CDSS", (1, 9))])
    with pytest.raises(InputError, match="sans1 and Sans1 may both be item SANS1"):
        resolve_target("sans.SANS1", ["sans1", "Sans1"])


def test_two_columns_that_differ_by_case_are_told_apart():
    columns = ["n1", "N1", "N3"]
    for name in ("N1", "panss.n1"):
        assert resolve_target(name, columns).columns == ("N1",)
    assert resolve_target("n1", ["n1", "N3"]).columns == ("n1",)
    for name in ("n1", "n1+N3", "percent_change(n1)"):
        with pytest.raises(
            InputError, match=r"'n1' may mean the column or panss\.N1, which stands"
        ):
            resolve_target(name, columns)


def test_derived_columns_are_targets_and_never_summands():
    columns = [*numbered("sans", (1, 24)), "factor_alogia", "global_alogia"]
    assert resolve_target("factor_alogia", columns).items == ("factor_alogia",)
    with pytest.raises(InputError, match="global_alogia is derived from items and is not added"):
        resolve_target("sans_ds000030.SANS1+global_alogia", columns)


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
    for scale, only in (("cains", "C10"), ("bnss", "BNSS9")):
        shown = [i.code for i in scales()[scale].items if i.face != "not_visible"]
        assert shown == [only]


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
    with pytest.raises(InputError, match="must count different items of the scale, got C"):
        parse_scale(OWN.replace("items: [M1, M2]", "items: [M1, C]"), name="s.yaml")
    with pytest.raises(InputError, match="not YAML"):
        parse_scale("name: [", name="s.yaml")


def test_users_add_scales_of_their_own(tmp_path):
    path = tmp_path / "mood.yaml"
    path.write_text(OWN)
    registry = load_scales([path])
    target = resolve_target("mood.total", ["m1", "M2"], registry=registry)
    assert (target.columns, target.maximum, target.visible_items) == (("m1", "M2"), 6, ("M1",))
    gap = resolve_target("mood.gap", ["M1", "M2"], registry=registry)
    assert (gap.minus, gap.minimum, gap.maximum, gap.floor) == (("M2",), -3, 3, None)
    assert "mood.total" in target_names(registry)
    assert "mood" not in scales()
    with pytest.raises(InputError, match="unknown"):
        resolve_target("mood.total", ["M1", "M2"])


def test_every_fault_of_all_scale_files_is_listed(tmp_path):
    taken = OWN.replace("name: mood", "name: panss")
    stolen = OWN.replace("{name: total,", "{name: negative_symptoms, short: true,")
    (tmp_path / "a.yaml").write_text(taken)
    (tmp_path / "b.yaml").write_text(stolen)
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    names = ["a.yaml", "b.yaml", "c.yaml", "none.yaml"]
    with pytest.raises(InputError) as caught:
        load_scales([tmp_path / n for n in names])
    assert list(caught.value.faults) == [
        "scale a.yaml: there is a scale called 'panss' already",
        "scale b.yaml: the bare name 'negative_symptoms' always means panss.negative_symptoms; "
        "leave out 'short'",
        "scale c.yaml: not a readable UTF-8 file",
        "scale none.yaml: no such file",
    ]
