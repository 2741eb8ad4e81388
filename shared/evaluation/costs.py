"""What decisions cost in money, and the threshold or the rule that makes them cheapest."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Costs:
    """What the two kinds of decision cost, in the currency of the amounts.

    An alert costs its review, be it right or wrong; a positive without an alert costs its loss. Nothing else costs anything.

    Attributes:
        alert: of reviewing one alert.
        miss_share: of the amount, which is lost with a missed positive.
        miss: of a missed positive besides, whatever its amount.
    """

    alert: float
    miss_share: float = 1.0
    miss: float = 0.0

    def loss(self, amounts: np.ndarray | float) -> np.ndarray:
        """What missing each row costs if it is positive. `amounts`: [rows], or 0 where there are none."""
        return self.miss_share * np.asarray(amounts, dtype=np.float64) + self.miss

    def expected_cost_rule(self, probabilities: np.ndarray, amounts: np.ndarray | float = 0.0) -> np.ndarray:
        """[rows] true where an alert is cheaper than what is lost on average without it (Elkan 2001).

        It is the best rule if the `probabilities` [rows] are calibrated, and then needs no threshold; `curve` of
        `probabilities * loss(amounts)` tells how far it is from the best threshold on that product.
        """
        return np.asarray(probabilities) * self.loss(amounts) > self.alert

    def per_row(self, alerts: np.ndarray, labels: np.ndarray, amounts: np.ndarray | float = 0.0) -> np.ndarray:
        """[rows] cost of each decision. `alerts`: [rows] of booleans; `labels`: [rows] of 0 and 1."""
        return np.where(alerts, self.alert, np.asarray(labels) * self.loss(amounts))

    def bill(self, alerts: np.ndarray, labels: np.ndarray, amounts: np.ndarray | float = 0.0) -> Bill:
        """The sums over all rows, beside those of the decisions that need no model. Arguments as for `per_row`."""
        alerts, labels = np.asarray(alerts, dtype=bool), np.asarray(labels)
        missed = labels * self.loss(amounts)
        return Bill(
            alerts=int(alerts.sum()),
            caught=int((alerts & (labels == 1)).sum()),
            missed=int((~alerts & (labels == 1)).sum()),
            cost=float(np.where(alerts, self.alert, missed).sum()),
            nothing=float(missed.sum()),
            everything=self.alert * len(labels),
            perfect=float(np.minimum(missed, self.alert).sum()),
        )

    def curve(self, scores: np.ndarray, labels: np.ndarray, amounts: np.ndarray | float = 0.0) -> CostCurve:
        """Cost at every threshold, from no alert to all.

        Args:
            scores: [rows], higher is more suspicious.
            labels: [rows] of 0 and 1.
            amounts: [rows], or 0 where there are none.

        Raises:
            ValueError: there are no rows.
        """
        scores, missed = np.asarray(scores, dtype=np.float64), np.asarray(labels) * self.loss(amounts)
        if scores.size == 0:
            raise ValueError("no rows to choose a threshold on")
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each run of equal scores
        alerts = np.append(0, last + 1)
        avoided = np.append(0.0, np.cumsum(missed[order])[last])
        none = np.nextafter(falling[0], np.inf)  # finite, so that it can be stored
        return CostCurve(np.append(none, falling[last]), alerts, missed.sum() - avoided + self.alert * alerts)


@dataclass(frozen=True)
class Bill:
    """What decisions cost, in the currency of the amounts.

    Attributes:
        alerts, caught, missed: number of alerts, of positives with and of positives without one.
        cost: of the decisions.
        nothing, everything: of never, and of always, raising an alert.
        perfect: of alerts for exactly the positives whose loss exceeds an alert's cost.
    """

    alerts: int
    caught: int
    missed: int
    cost: float
    nothing: float
    everything: float
    perfect: float

    @property
    def saved(self) -> float:
        """Compared with doing nothing."""
        return self.nothing - self.cost

    @property
    def saved_share(self) -> float:
        """Of what a perfect detector would save; 0 if that is nothing."""
        possible = self.nothing - self.perfect
        return self.saved / possible if possible > 0 else 0.0

    def as_dict(self) -> dict[str, float]:
        return asdict(self) | {"saved": self.saved, "saved_share": self.saved_share}


@dataclass(frozen=True)
class CostCurve:
    """[steps] each, from no alert to all: alerts are the rows with score >= threshold.

    Attributes:
        thresholds: every distinct score, falling, after one that is above all.
        alerts: number of them.
        costs: in the currency of the amounts.
    """

    thresholds: np.ndarray
    alerts: np.ndarray
    costs: np.ndarray

    @property
    def best(self) -> int:
        """The cheapest step; of several the one with the fewest alerts."""
        return int(self.costs.argmin())

    @property
    def threshold(self) -> float:
        return float(self.thresholds[self.best])

    def thinned(self, points: int = 200) -> CostCurve:
        """At most `points` steps for a chart, dense where alerts are few; the first, the best and the last are kept."""
        steps = len(self.costs) - 1
        spread = np.geomspace(1, steps, points - 2).round().astype(int)
        kept = np.unique(np.append(spread, [0, self.best]))
        return CostCurve(self.thresholds[kept], self.alerts[kept], self.costs[kept])
