"""From results to tables, paired differences and a page."""

from trg_pyg.report.comparison import ComparedStudy, studies_of
from trg_pyg.report.compose import report
from trg_pyg.report.paired import Difference, paired_difference
from trg_pyg.report.results import Results
from trg_pyg.report.rows import ResultRow, result_rows
from trg_pyg.report.runs import Found, find_runs
from trg_pyg.report.table import results_table

__all__ = [
    "ComparedStudy",
    "Difference",
    "Found",
    "ResultRow",
    "Results",
    "find_runs",
    "paired_difference",
    "report",
    "result_rows",
    "results_table",
    "studies_of",
]
