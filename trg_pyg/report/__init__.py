"""From results to tables, paired differences and a page."""

from trg_pyg.report.compose import report
from trg_pyg.report.paired import Difference, paired_difference
from trg_pyg.report.results import Results

__all__ = ["Difference", "Results", "paired_difference", "report"]
