"""Files of other projects in, files for them out: what `detzoo inspect` and `detzoo convert` do."""

from .exports import EXPORTS, save_for, suffixes_for
from .report import Report, format_report, inspect
from .save import SUFFIXES, check_suffix, save

__all__ = [
    "EXPORTS",
    "SUFFIXES",
    "Report",
    "check_suffix",
    "format_report",
    "inspect",
    "save",
    "save_for",
    "suffixes_for",
]
