"""Trained networks for other programs: ONNX or torch.export, verified against the original."""

from shared.export.contract import Arrays, Compute, Exportable
from shared.export.runtime import open_network
from shared.export.writing import FORMATS, PRECISIONS, export

__all__ = ["FORMATS", "PRECISIONS", "Arrays", "Compute", "Exportable", "export", "open_network"]
