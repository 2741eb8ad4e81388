"""The blend as one graph for other programs: a transaction's features in, the probability of fraud out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from shared.errors import UserError
from shared.export import Arrays, Exportable
from usecases.fraud_detection.detector import Detector
from usecases.fraud_detection.inputs import Rows
from usecases.fraud_detection.model import NAMES, Blend, Boosting, FlatTrees, Network


class Trees(nn.Module):
    """`FlatTrees` as tensors: all trees are walked down together."""

    root: torch.Tensor
    feature: torch.Tensor
    threshold: torch.Tensor
    child: torch.Tensor
    value: torch.Tensor

    def __init__(self, flat: FlatTrees) -> None:
        super().__init__()
        for name in ("root", "feature", "threshold", "child", "value"):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(getattr(flat, name)).ravel()))
        self.start, self.depth = flat.start, flat.depth

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits [batch, 1] of `x` [batch, inputs]."""
        x = batch["x"].double()
        node = self.root.unsqueeze(0).expand(x.shape[0], -1)
        for _ in range(self.depth):
            above = x.gather(1, self.feature[node]) > self.threshold[node]
            node = self.child[2 * node + above.long()]
        return (self.value[node].sum(1, keepdim=True) + self.start).float()


class Graph(nn.Module):
    """The weighted sum of the members' logits, calibrated."""

    def __init__(self, blend: Blend, scale: float, offset: float) -> None:
        super().__init__()
        self.weights, self.scale, self.offset = list(blend.weights.values()), scale, offset
        members = [blend.members[name] for name in blend.weights]
        self.members = nn.ModuleList(
            Trees(one.flat) if isinstance(one, Boosting) else one.module for one in members if isinstance(one, Boosting | Network)
        )

    def forward(self, x: torch.Tensor, history: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """x [batch, inputs] (and history [batch, length, steps + 1]) to the logit and the probability [batch, 1]."""
        batch = {"x": x} if history is None else {"x": x, "history": history}
        parts = [weight * member(batch).mean(1) for weight, member in zip(self.weights, self.members, strict=True)]
        logit = torch.stack(parts).sum(0).unsqueeze(1)
        return logit, (self.scale * logit + self.offset).sigmoid()


def exportable(detector: Detector, rows: Rows, amounts: np.ndarray) -> Exportable:
    """
    Args:
        rows: for the samples.
        amounts: [rows] of the transactions.

    Raises:
        UserError: a member is neither a network nor scikit-learn's trees.
    """
    blend, rule, costs = detector.blend, detector.rule, detector.costs
    other = [NAMES[name] for name in blend.weights if not isinstance(blend.members[name], Boosting | Network)]
    if other:
        fix = "usecases run fraud_detection 'model.members=[logistic, boosting, tabular, sequence, anomaly]'"
        raise UserError(f"This model holds {', '.join(other)}, which cannot be exported. Train one without: {fix}")
    arrays = {"x": rows.x, "history": rows.history} if "sequence" in blend.weights else {"x": rows.x}
    loss = costs.loss(amounts) if detector.source.labelled else np.ones(len(amounts))

    def usual(given: Arrays) -> Arrays:
        logits = blend(Rows(given["x"], given.get("history", np.zeros((len(given["x"]), 0)))))
        return {"logit": logits[:, None], "score": rule.calibrator(logits)[:, None]}

    inputs = {
        "x": "what is known of the transaction, in the order of about.features, without gaps",
        "history": "the account's last transactions, oldest first, in numbers as about.steps; the last is 1 where there is one",
    }
    return Exportable(
        module=Graph(blend, rule.calibrator.scale, rule.calibrator.offset).eval(),
        samples=arrays,
        inputs={name: inputs[name] for name in arrays},
        outputs={"logit": "[batch, 1] of the combination", "score": "[batch, 1] calibrated probability of fraud"},
        usual=usual,
        decide=lambda outputs: outputs["score"][:, 0] * loss[: len(outputs["score"])] >= rule.threshold,
        answer="score",
        names=["fraud"],
        about={
            "members": {NAMES[name]: weight for name, weight in blend.weights.items()},
            "features": detector.inputs.names,
            "steps": [detector.ledger.names[place] for place in detector.ledger.kept] if "history" in arrays else [],
            "threshold": rule.threshold,
            "decision": f"an alert where score * ({costs.miss_share:g} * amount + {costs.miss:g}) reaches the threshold"
            if detector.source.labelled
            else "an alert where the score reaches the threshold",
            "in_the_graph": "standardising, every member of the combination, its weights, calibration",
            "not_in_the_graph": "the features themselves, made from the account's past; the threshold, which is of money",
        },
    )
