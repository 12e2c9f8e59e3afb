"""Evaluation of long video without any weights: against the band of real video, with controls.

A figure never stands alone: motion is paired with sharpness and colour, a model with copy-last and with real video.
"""

from unspool.evaluate.bootstrap import Interval, paired_ratio, ratio
from unspool.evaluate.controls import copy_last
from unspool.evaluate.curves import Curves, measure
from unspool.evaluate.drift import Horizon, Metric, Row, Series, Slope, Table, segments, tabulate
from unspool.evaluate.pages.report import closing_table, write_report
from unspool.evaluate.pages.sheet import contact_sheet, side_by_side
from unspool.evaluate.repetition import Repetition, repetition

__all__ = [
    "Curves",
    "Horizon",
    "Interval",
    "Metric",
    "Repetition",
    "Row",
    "Series",
    "Slope",
    "Table",
    "closing_table",
    "contact_sheet",
    "copy_last",
    "measure",
    "paired_ratio",
    "ratio",
    "repetition",
    "segments",
    "side_by_side",
    "tabulate",
    "write_report",
]
