"""The report that a person reads: one HTML file that loads nothing, and its plots as PNG."""

from streamsv.evaluation.page.document import write_page
from streamsv.evaluation.page.picture import write_plots

__all__ = ["write_page", "write_plots"]
