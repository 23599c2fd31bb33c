"""The report of a result: read from its folder, written as HTML, Markdown, PDF and tables."""

from __future__ import annotations

from emoclip_clinical.study.report.files import (
    FORMATS as FORMATS,
)
from emoclip_clinical.study.report.files import (
    Format as Format,
)
from emoclip_clinical.study.report.files import (
    check_formats as check_formats,
)
from emoclip_clinical.study.report.files import (
    write_index as write_index,
)
from emoclip_clinical.study.report.files import (
    write_report as write_report,
)
from emoclip_clinical.study.report.files import (
    write_reports as write_reports,
)
from emoclip_clinical.study.report.files import (
    write_report_tables as write_report_tables,
)
from emoclip_clinical.study.report.folder import (
    ResultFolder as ResultFolder,
)
from emoclip_clinical.study.report.folder import (
    read_result as read_result,
)
from emoclip_clinical.study.report.page import render_report as render_report
from emoclip_clinical.study.report.sentences import NOTICE as NOTICE
