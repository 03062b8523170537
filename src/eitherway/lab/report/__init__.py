"""The report of a comparison: one HTML file."""

from eitherway.lab.report.page import render

__all__ = ["render"]
