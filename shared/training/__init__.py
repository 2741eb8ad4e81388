"""The training loop and its checkpoints."""

from shared.training.loop import Fitted, Objective, Validation, fit

__all__ = ["Fitted", "Objective", "Validation", "fit"]
