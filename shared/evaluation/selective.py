"""Deciding only where one is sure: what is gained by referring the rest to a human, and how much to refer."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

EVERYTHING = -float(np.finfo(np.float64).max)  # a threshold below any confidence, which JSON can hold
STARTS = 10  # of the sequences of tests: at 10 %, 20 %, ... of the rows


def decision_confidence(probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """[rows] the chance that the decision `probability >= threshold` is right. `probabilities`: [rows], calibrated.

    Of several classes, it is the largest probability of the row.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return np.where(probabilities >= threshold, probabilities, 1 - probabilities)


@dataclass(frozen=True)
class RiskCoverage:
    """The share of wrong decisions among the surest rows (Geifman & El-Yaniv 2017).

    Attributes:
        coverage: [rows] 1/rows, 2/rows, ... 1: the share of rows that are decided.
        risk: [rows] the share of these that is wrong. Within equal confidences, the mean over all orders of them.
        area: under the curve (AURC): the mean risk over all coverages; less is better.
        excess: the area beyond that of confidences which put every wrong row last (E-AURC, Geifman et al. 2019, here exact
            where they approximate the best area). It judges the confidences apart from the number of errors.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float
    excess: float

    @classmethod
    def of(cls, confidences: np.ndarray, wrong: np.ndarray) -> RiskCoverage:
        """
        Args:
            confidences: [rows], higher is surer.
            wrong: [rows] true where the decision is wrong; or a loss.

        Raises:
            ValueError: there are no rows.
        """
        confidences, wrong = np.asarray(confidences, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
        if confidences.size == 0 or confidences.shape != wrong.shape:
            raise ValueError(f"confidences {confidences.shape} and errors {wrong.shape} must be [rows] both, at least one")
        _, tie = np.unique(-confidences, return_inverse=True)
        shared = (np.bincount(tie, wrong) / np.bincount(tie))[tie]
        number = np.arange(1, len(wrong) + 1)
        risk = np.cumsum(shared[np.argsort(tie, kind="stable")]) / number
        best = np.cumsum(np.sort(wrong)) / number
        return cls(number / len(wrong), risk, float(risk.mean()), float(risk.mean() - best.mean()))


@dataclass(frozen=True)
class Abstention:
    """A rule that decides where confidence > threshold and refers the rest to a human.

    Attributes:
        threshold: of the confidence.
        wanted: the risk that is promised not to be exceeded among decided rows...
        certainty: ... with this probability over the choice of validation rows.
        coverage, risk: shares of validation rows that are decided, and of these that are wrong.
        bound: the upper limit of the risk, at most `wanted`.
    """

    threshold: float
    wanted: float
    certainty: float
    coverage: float
    risk: float
    bound: float

    @classmethod
    def fit(cls, confidences: np.ndarray, wrong: np.ndarray, wanted: float, certainty: float = 0.95) -> Abstention | None:
        """The rule that decides the most rows with its risk guaranteed, for any distribution and any model.

        Each number of surest rows is a hypothesis "their risk exceeds the wanted one", tested by the binomial bound of Clopper &
        Pearson, as in Geifman & El-Yaniv (2017, algorithm 1). Their binary search picks its tests by earlier results, which a
        union bound over the tests made does not cover; here hypotheses are tested in fixed sequences from several starts
        (Angelopoulos et al. 2021, "Learn then test", section 4.1), each with its part of the error, so the guarantee is exact.

        Args:
            confidences: [rows] of a part used for nothing else, higher is surer. Rows must be independent, so give one row of
                each patient.
            wrong: [rows] true where the decision is wrong.
            wanted: the largest share of wrong decisions, 0 to 1.
            certainty: that the share holds for new rows of the same kind.

        Returns:
            None where no rule can be guaranteed, as with too few rows: even without an error it takes about
            log((1 - certainty) / 10) / log(1 - wanted) of them.
        """
        confidences, wrong = np.asarray(confidences, dtype=np.float64), np.asarray(wrong, dtype=bool)
        order = np.argsort(-confidences, kind="stable")
        rows, falling = len(order), confidences[order]
        errors = np.cumsum(wrong[order])
        decided = np.append(np.flatnonzero(np.diff(falling)), rows - 1)[:rows] + 1  # without parting equal confidences
        failed = errors[decided - 1]
        bounds = np.where(
            failed < decided, stats.beta.ppf(1 - (1 - certainty) / STARTS, failed + 1, np.maximum(decided - failed, 1)), 1.0
        )
        fine = bounds <= wanted
        # a start is certified by itself; from there the sequence goes on to more rows until a test fails
        best = -1
        for start in np.searchsorted(decided, np.ceil(np.arange(1, STARTS + 1) / STARTS * rows)).tolist():
            step = start
            while step < len(fine) and fine[step]:
                best, step = max(best, step), step + 1
        if best < 0:
            return None
        number = int(decided[best])
        threshold = float(falling[number]) if number < rows else EVERYTHING
        return cls(threshold, wanted, certainty, number / rows, float(failed[best] / number), float(bounds[best]))

    def refer(self, confidences: np.ndarray) -> np.ndarray:
        """[rows] true where a human must decide; also where the confidence is nan."""
        return ~(np.asarray(confidences, dtype=np.float64) > self.threshold)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)
