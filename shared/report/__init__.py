"""What a run shows: a self-contained HTML report and a model card."""

from shared.report.card import write_card
from shared.report.html import Numeral, Report, Section, Table

__all__ = ["Numeral", "Report", "Section", "Table", "write_card"]
