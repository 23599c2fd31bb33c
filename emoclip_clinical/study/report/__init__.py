"""The report of a result: read from its folder, written as HTML, Markdown, PDF and tables."""

from __future__ import annotations

from emoclip_clinical.study.report.files import (
    FORMATS,
    Format,
    check_formats,
    write_index,
    write_report,
    write_report_tables,
    write_reports,
)
from emoclip_clinical.study.report.folder import ResultFolder, read_result
from emoclip_clinical.study.report.page import render_report
from emoclip_clinical.study.report.sentences import NOTICE

__all__ = [
    "FORMATS",
    "NOTICE",
    "Format",
    "ResultFolder",
    "check_formats",
    "read_result",
    "render_report",
    "write_index",
    "write_report",
    "write_report_tables",
    "write_reports",
]
