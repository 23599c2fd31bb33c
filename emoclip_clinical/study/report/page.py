"""Putting a report together, and writing it as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from emoclip_clinical.study.report import comparison_sections as beside
from emoclip_clinical.study.report import reach_sections as reach
from emoclip_clinical.study.report import result_sections as of_result
from emoclip_clinical.study.report.checklist import probast, tripod
from emoclip_clinical.study.report.document import Document, Links, Section, shown
from emoclip_clinical.study.report.folder import Record, ResultFolder
from emoclip_clinical.study.report.methods import methods
from emoclip_clinical.study.report.moments import moments
from emoclip_clinical.study.report.origins import origin, standing, standing_words, warnings
from emoclip_clinical.study.report.sentences import (
    NOTICE,
    limit_sentences,
    result_sentence,
    scale_sentence,
    title_of,
)


def document(result: ResultFolder) -> Document:
    """Return the report of a result: what it says, in the order in which it is read."""
    record, protocol = result.metrics, result.provenance["protocol"]
    made = tuple(s for s in _sections(result, protocol) if s is not None)
    titles = {s.key: s.title for s in made}
    last = (origin(result.provenance), warnings(record))
    titles |= {s.key: s.title for s in last}
    lists = (tripod(result, titles), probast(result, titles))
    return Document(
        target=str(record["target"]),
        title=title_of(record),
        sentence=result_sentence(record),
        limits=limit_sentences(record),
        scale=scale_sentence(record),
        standing=standing_words(result.provenance),
        notes=_notes(protocol),
        notice=NOTICE,
        sections=(*made, *lists, *last),
    )


def _sections(result: ResultFolder, protocol: object) -> tuple[Section | None, ...]:
    record = result.metrics
    regression = protocol.get("regression", {}) if isinstance(protocol, Mapping) else {}
    return (
        standing(result.provenance),
        of_result.participants(record),
        of_result.recordings(record),
        of_result.result(record),
        of_result.figures(result),
        beside.models(result),
        beside.confounds(result),
        beside.quality_alone(result),
        beside.subgroups(record),
        of_result.importance(record),
        of_result.coefficients(record),
        beside.sensitivity(record),
        reach.visits(record),
        reach.ceiling(record),
        reach.curve(record),
        reach.audit(record),
        reach.published(record, regression),
        moments(result),
        methods(result),
    )


def _notes(protocol: object) -> tuple[str, ...]:
    report: Record = protocol.get("report", {}) if isinstance(protocol, Mapping) else {}
    notes: Sequence[object] = report.get("notes", ())
    return tuple(str(n) for n in notes)


def render_report(result: ResultFolder) -> str:
    """Render the report of a result as a self-contained HTML page.

    Participants are named by their identifiers at most; the protocol's section ``data`` and
    whatever looks like a file's name are left out.

    Parameters
    ----------
    result : ResultFolder

    Returns
    -------
    str
        HTML; the same folder gives the same text.
    """
    return html(document(result))


def html(page: Document) -> str:
    """Return a report as a self-contained HTML page."""
    return environment().get_template("report.html.j2").render(page=page)


@cache
def environment() -> Environment:
    """Return jinja's environment of the report's templates."""
    made = Environment(
        loader=PackageLoader("emoclip_clinical.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    made.filters["breakable"] = _breakable
    made.tests["links"] = lambda cell: isinstance(cell, Links)
    return made


def _breakable(text: str) -> Markup:
    """Let a long name of a column go on in the next line after an underscore."""
    return Markup("_<wbr>").join(text.split("_"))
