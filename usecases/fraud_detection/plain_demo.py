"""The page of rows without a time: costs that move the threshold, the flagged with reasons, and one of your own."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from markupsafe import Markup

from shared.evaluation.costs import Bill, Costs
from shared.serving.demo import Demo, in_place, slider
from shared.serving.pieces import bars, facts, notice, table
from usecases.fraud_detection.demo import Given, choice
from usecases.fraud_detection.plain_predictor import RowDecision, RowDetector

QUEUE = 12  # flagged rows that are offered at a time
FIELDS = 40  # inputs that can be filled in
LOOK, MISS = "Cost of a look", "Cost of a miss, beside its amount"
WITHOUT = "Rows have no time here, so nothing is played live, and none has a past to be shown."


class Rows:
    """A run's judged rows, and what costs make of them."""

    def __init__(self, demo: Demo) -> None:
        self.demo, model = demo, demo.predictor
        assert isinstance(model, RowDetector)
        self.model, self.core, self.words = model, model.detector, model.detector.source.words
        self.judged = pd.read_parquet(demo.run / "predictions.parquet").set_index("id", drop=False)

    def at_risk(self, look: float, miss: float) -> np.ndarray:
        """[judged] what a miss costs, as is to be expected."""
        return self.judged["score"].to_numpy() * self._costs(look, miss).loss(self.judged["amount"].to_numpy())

    def bill(self, look: float, miss: float) -> Bill:
        flagged = self.at_risk(look, miss) >= look
        return self._costs(look, miss).bill(flagged, self.judged["label"].to_numpy(), self.judged["amount"].to_numpy())

    def values(self, name: str) -> dict[str, Any]:
        """The inputs of a judged row."""
        row = self.judged.loc[name]
        given = {column.removeprefix("input "): value for column, value in row.items() if str(column).startswith("input ")}
        return {column: None if pd.isna(value) else value for column, value in given.items()}

    def _costs(self, look: float, miss: float) -> Costs:
        return Costs(look, self.core.config.costs.loss_share, miss)


def page(demo: Demo) -> None:
    """Build it."""
    rows = Rows(demo)
    costs = rows.core.config.costs
    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            step = costs.alert / 10
            look = slider(step, 100 * step, costs.alert, step=step, label=LOOK, info="Dearer looks: fewer are flagged")
            miss = slider(0, max(40 * costs.alert, 4 * costs.loss_fixed), costs.loss_fixed, step=step, label=MISS)
        with gr.Column(scale=5, min_width=290):
            effect = gr.HTML(effects(rows, costs.alert, costs.loss_fixed), label="What the costs change", padding=False)
    gr.HTML(notice(WITHOUT), label="What is left out", padding=False)
    with gr.Tabs():
        with gr.Tab("Flagged"):
            queue_tab(rows, look, miss)
        with gr.Tab("Try one"):
            own_tab(rows)
    both = [look, miss]
    gr.on([look.change, miss.change], partial(effects, rows), both, effect, show_progress="hidden", trigger_mode="always_last")


def effects(rows: Rows, look: float, miss: float) -> str:
    """What these costs make of the judged rows."""
    bill, words = rows.bill(look, miss), rows.words
    tiles = {
        "Flagged": f"{bill.alerts:,} of {len(rows.judged):,}",
        f"With {words.finding} among them": f"{bill.caught / max(bill.alerts, 1):.0%}",
        f"Of all with {words.finding}": f"{bill.caught:,} of {bill.caught + bill.missed:,}",
        "Saved": f"{bill.saved:,.0f}",
    }
    said = (
        f"Flagged where probability times loss reaches the cost of a look, on {words.records} that the model which scored them "
        f"had not seen. Saved: the losses avoided less all looks, {bill.saved_share:.0%} of what is possible."
    )
    return facts(tiles) + Markup('<p class="soft">{}</p>').format(said)


def queue_tab(rows: Rows, look: gr.Slider, miss: gr.Slider) -> None:
    """The flagged rows, and all about the chosen one."""

    def offer(look: float, miss: float, chosen: str | None = None) -> gr.Radio:
        at_risk = rows.at_risk(look, miss)
        order = np.argsort(-at_risk, kind="stable")
        places = order[at_risk[order] >= look]
        ids = rows.judged["id"].to_numpy()[places[:QUEUE]].tolist()
        info = f"{len(places):,} flagged, the most to lose first" + (f"; the first {QUEUE}" if len(places) > QUEUE else "")
        value = chosen if chosen in ids else next(iter(ids), None)
        choices: Any = [(f"{name} · {rows.judged.loc[name, 'score']:.0%}", name) for name in ids]
        return gr.Radio(choices, value=value, label="Flagged", info=info if ids else "None at these costs")

    def tell(chosen: str | None) -> str:
        if chosen is None:
            return notice("Nothing to look at. Make a miss dearer.", "good")
        decision: RowDecision = rows.demo.predict([{"id": chosen, "values": rows.values(chosen), "reasons": 5}])[0]
        label = rows.judged.loc[chosen, "label"]
        decision.score = float(rows.judged.loc[chosen, "score"])
        said = f"It has {rows.words.finding}." if label else f"It has no {rows.words.finding}."
        why = "The probability is that of a model that had not seen it; the reasons are those of the model that is kept."
        return (
            notice(said, "bad" if label else "good") + told(rows, decision, rows.values(chosen)) + Markup("<p>{}</p>").format(why)
        )

    own = rows.core.config.costs.alert, rows.core.config.costs.loss_fixed
    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            chosen = offer(*own)
        with gr.Column(scale=3, min_width=290):
            about = gr.HTML(tell(chosen.value), label="The chosen one", padding=False)
    moved = [look.change, miss.change]
    gr.on(moved, offer, [look, miss, chosen], chosen, show_progress="hidden", trigger_mode="always_last")
    chosen.change(tell, chosen, about, show_progress="minimal", trigger_mode="always_last")


def told(rows: Rows, decision: RowDecision, values: dict[str, Any]) -> Markup:
    """A decision with its reasons, its inputs and rows of the training like it."""
    parts = [facts({f"Probability of {rows.words.finding}": f"{decision.score:.1%}"})]
    if decision.reasons:
        reasons = {reason.text: reason.contribution for reason in decision.reasons}
        parts.append(bars(reasons, "Why: how much each raised the score (its log-odds)"))
    shown = [{"input": name, "value": "–" if value is None or value == "" else value} for name, value in values.items()]
    parts.append(table(shown, f"The {rows.words.record}"))
    if decision.similar:
        alike = [{"id": one.id, "alike": f"{one.similarity:.0%}"} for one in decision.similar]
        parts.append(table(alike, f"Most like it of the {rows.words.records} with {rows.words.finding}"))
    return Markup("").join(parts)


def own_tab(rows: Rows) -> None:
    """A row that the visitor makes up."""
    usual, inputs = rows.model.examples()[0].values, rows.core.inputs
    names = rows.model.inputs[:FIELDS]

    @in_place
    def judge(*given: Given) -> str:
        values = {**usual, **dict(zip(names, given, strict=True))}
        decision: RowDecision = rows.demo.predict([{"id": "yours", "values": values, "reasons": 5}])[0]
        verdict = "Flagged" if decision.flagged else "Not flagged"
        said = notice(f"{verdict} by the run's own costs.", "bad" if decision.flagged else "good")
        return said + Markup("").join(notice(note, "warning") for note in decision.notes) + told(rows, decision, values)

    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            fields = [
                choice(name, inputs.categories[name], usual[name])
                if name in inputs.categories
                else gr.Number(float(usual[name] or 0), label=name)
                for name in names
            ]
            ask = gr.Button("Judge it", variant="primary")
        with gr.Column(scale=3, min_width=290):
            found = gr.HTML(judge(*(usual[name] for name in names)), label="Decision", padding=False)
    ask.click(judge, fields, found, show_progress="minimal")
