"""Evaluation reports: tables, pictures and charts as one page, Markdown, CSV and JSON."""

from cldyn_core.report.files import write_report
from cldyn_core.report.model import Box, Column, Comparison, Curve, Histogram, Panel, Report, Row, Table, Value
from cldyn_core.report.pictures import difference

__all__ = [
    "Box",
    "Column",
    "Comparison",
    "Curve",
    "Histogram",
    "Panel",
    "Report",
    "Row",
    "Table",
    "Value",
    "difference",
    "write_report",
]
