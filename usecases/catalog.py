"""The list of use cases. Lazy: only the one that is asked for is imported."""

from __future__ import annotations

import importlib

from shared.errors import UserError, nearest
from shared.usecase import UseCase

MODULES = {
    "recommendation": "usecases.recommendation",
    "fraud_detection": "usecases.fraud_detection",
    "lane_detection": "usecases.lane_detection",
    "medical_imaging": "usecases.medical_imaging",
    "chatbot": "usecases.chatbot",
}


def get(name: str) -> UseCase:
    """Import a use case.

    Raises:
        UserError: there is none of this name; offers the nearest one.
    """
    if name not in MODULES:
        raise UserError(f"There is no use case '{name}'. {nearest(name, MODULES)}")
    usecase: UseCase = importlib.import_module(MODULES[name]).USECASE
    return usecase
