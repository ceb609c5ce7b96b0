"""The report: one HTML file with everything in it, which needs no server and no network."""

from saeattr.reporting.page.make import make_report
from saeattr.reporting.page.write import InlineFigure, Report, write_report

__all__ = ["InlineFigure", "Report", "make_report", "write_report"]
