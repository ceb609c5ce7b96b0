"""The report: one HTML file with everything in it, which needs no server and no network."""

from saeattr.report.page.make import make_report
from saeattr.report.page.write import InlineFigure, Report, write_report

__all__ = ["InlineFigure", "Report", "make_report", "write_report"]
