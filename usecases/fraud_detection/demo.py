"""The page: alerts of the test days with reasons, costs that move the threshold, payments played live, and one of your own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup

from shared.serving.demo import Demo, in_place, slider
from shared.serving.pieces import bars, facts, notice, table
from usecases.fraud_detection.answers import FraudDecision, tidy
from usecases.fraud_detection.desk import Desk, money, when
from usecases.fraud_detection.detector import Detector
from usecases.fraud_detection.timeline import DAY

QUEUE = 12  # alerts that are offered at a time
NAMES = 300  # accounts to choose from
REASONS = {"reasons": 5, "similar": 3}
SHOWN = 30 * DAY  # of an account's past
TICK, EVERY, TICKS = 8, 0.5, 250  # payments played at once, seconds between, and how often until it stops by itself
TRAIL, LATEST = 150, 6  # payments on the live chart, alerts below it
REVIEW, MISS = "Cost of one review", "Extra cost of a missed fraud"
ALL = "All test days"
WITHOUT = "The model does not remember the data's further numbers: payments are explained, and played, without them."
Given = str | float | None


def page(demo: Demo) -> None:
    """Build it."""
    desk = Desk(demo)
    costs = desk.core.config.costs
    with gr.Row(visible=desk.labelled):
        with gr.Column(scale=2, min_width=290):
            step = costs.alert / 10
            most = max(40 * costs.alert, 4 * costs.loss_fixed)
            review = slider(step, 100 * step, costs.alert, step=step, label=REVIEW, info="Dearer reviews: fewer alerts")
            miss = slider(0, most, costs.loss_fixed, step=step, label=MISS, info="Beside its amount, such as a fee")
        with gr.Column(scale=5, min_width=290):
            effect = gr.HTML(effects(desk, costs.alert, costs.loss_fixed), label="What the costs change", padding=False)
    if desk.core.source.numeric:
        gr.HTML(notice(WITHOUT, "warning"), label="What is missing", padding=False)
    with gr.Tabs():
        with gr.Tab("Alerts"):
            queue_tab(desk, review, miss)
        with gr.Tab("Live"):
            live_tab(desk, review, miss)
        with gr.Tab("Try one"):
            own_tab(demo, desk)
    if desk.labelled:
        both, told = [review.change, miss.change], [review, miss]
        gr.on(both, partial(effects, desk), told, effect, show_progress="hidden", trigger_mode="always_last")


def effects(desk: Desk, review: float, miss: float) -> str:
    """What these costs make of the test days, beside the run's own threshold."""
    if not desk.labelled:
        return ""
    detector = desk.at(review, miss)
    bill, own = desk.bill(detector, detector), desk.bill(desk.core, detector)
    tiles = facts(
        {
            "Alerts a day": f"{bill.alerts / desk.days:,.1f}",
            "Frauds caught": f"{bill.caught:,} of {bill.caught + bill.missed:,}",
            "Alerts that are fraud": f"{bill.caught / max(bill.alerts, 1):.0%}",
            f"Saved in {desk.days} days": f"{bill.saved:,.0f}",
        }
    )
    words = (
        f"Alert where probability times loss reaches {detector.rule.threshold:,.2f}. Saved: the losses of caught fraud less all "
        f"reviews, {bill.saved_share:.0%} of what is possible, on test days that the model has not learnt from."
    )
    words += " The payments are simulated, not real." if desk.simulated else ""
    if (bill.alerts, bill.caught) != (own.alerts, own.caught):
        words += (
            f" At these costs the run's own threshold gives {own.alerts / desk.days:,.1f} alerts a day, catches "
            f"{own.caught:,} frauds and saves {own.saved:,.0f}."
        )
    steps, here = desk.curve(detector), np.log1p(bill.alerts / desk.days)
    high = max(float(steps[:, 1].max()), 1.0)
    width = float(np.log1p(steps[-1, 0]))
    line = [(float(np.log1p(day)) / width, max(float(saved), 0) / high) for day, saved in steps]
    dot = [(float(here) / width, max(bill.saved, 0) / high, "accent", 14)]
    alt = "Money saved, from few alerts a day to many; the dot: at these costs"
    chart = plot(dot, f"{alt}; top: {high:,.0f}", ("few alerts a day", "all payments are alerts"), line, height=5)
    return tiles + chart + Markup('<p class="soft">{}</p>').format(words)


def queue_tab(desk: Desk, review: gr.Slider, miss: gr.Slider) -> None:
    """The alerts of a day, and all about the chosen one."""

    def offer(day: str, review: float, miss: float, chosen: str | None = None) -> gr.Radio:
        alerts = desk.queue(desk.at(review, miss), None if day == ALL else day)
        shown: Any = alerts.head(QUEUE)
        choices: Any = [(f"{r.time:%d %b %H:%M} · {money(r.amount)} · {r.score:.0%}", r.transaction) for r in shown.itertuples()]
        ids = [one for _, one in choices]
        info = f"{len(alerts):,} alerts, the most to lose first" + (f"; the first {QUEUE}" if len(alerts) > QUEUE else "")
        value = chosen if chosen in ids else next(iter(ids), None)
        return gr.Radio(choices, value=value, label="Alerts", info=info if ids else "No alerts then at these costs")

    def tell(chosen: str | None, review: float, miss: float) -> str:
        return alert(desk, chosen, desk.at(review, miss))

    own = desk.core.config.costs.alert, desk.core.config.costs.loss_fixed
    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            day = gr.Dropdown([ALL, *desk.dates], value=ALL, label="Day")
            chosen = offer(ALL, *own)
        with gr.Column(scale=3, min_width=290):
            about = gr.HTML(tell(chosen.value, *own), label="The chosen alert", padding=False)
    moved = [day.change, review.change, miss.change]
    gr.on(moved, offer, [day, review, miss, chosen], chosen, show_progress="hidden", trigger_mode="always_last")
    asked = [chosen, review, miss]
    gr.on([chosen.change, miss.change], tell, asked, about, show_progress="minimal", trigger_mode="always_last")


def alert(desk: Desk, transaction: str | None, detector: Detector) -> str:
    """An alert as it was when the payment came, and what became known later."""
    if transaction is None:
        return notice("Nothing to review. Choose another day, or make a missed fraud dearer.", "good")
    row = desk.rows[transaction]
    decision = FraudDecision.model_validate(desk.replay(row, detector, REASONS))
    moment, cents, account = (int(getattr(desk.past, name)[row]) for name in ("time", "cents", "account"))
    decision.score = desk.scores[transaction]
    decision.expected_loss = decision.score * float(detector.costs.loss(cents / 100))
    made = explained(desk, decision, moment, cents / 100, desk.name("account", account), desk.told(row))
    if (label := desk.label(transaction)) is not None:
        text = "it turned out to be fraud." if label else "a false alarm, for no fraud was reported."
        made = notice(f"What came out later: {text}", "bad" if label else "good") + made
    return made


def explained(
    desk: Desk, decision: FraudDecision, moment: int, amount: float, account: str, told: Mapping[str, object]
) -> Markup:
    """A decision with its reasons, the account's past, and past frauds like it. `told`: the payment, as in `Desk.told`."""
    named = "Probability of fraud" if desk.labelled else "How unusual"
    tiles = {"Amount": money(amount), named: f"{decision.score:.1%}"}
    if desk.labelled:
        tiles["Expected loss"] = money(decision.expected_loss)
    if desk.accounts:
        tiles["Account"] = account or "–"
    parts = [facts(tiles)]
    if decision.reasons:
        reasons = {reason.text: reason.contribution for reason in decision.reasons}
        parts.append(bars(reasons, "Why: how much each raised the score (its log-odds)"))
    parts.append(history(desk, moment, amount, account, told))
    if decision.similar:
        alike = [
            {"Time": when(one.time), "Amount": money(one.amount), "Kind": one.scenario or "–",
             "Alike": f"{one.similarity:.0%}"}
            for one in decision.similar
        ]  # fmt: skip
        parts.append(table(alike, "Past frauds that are most like it"))
    return Markup("").join(parts)


def history(desk: Desk, moment: int, amount: float, account: str, told: Mapping[str, object]) -> Markup:
    """A payment and those before it of its account, as a chart and a table; fraud as far as it was known by then."""
    rows, past = desk.before(account, moment, SHOWN), desk.past
    known = past.known_at[rows] <= moment
    top = max(amount, float(past.cents[rows].max(initial=1)) / 100)
    at = 1 - (moment - past.time[rows]) / SHOWN
    dots = [
        (float(x), int(cents) / 100 / top, "bad" if bad else "edge", 8)
        for x, cents, bad in zip(at, past.cents[rows], known, strict=True)
    ]
    alt = f"The account's {len(rows)} payments in the 30 days before: large blue dot, this one; red, known as fraud by then"
    chart = plot([*dots, (1.0, amount / top, "accent", 16)], alt, ("30 days before", "this payment"), top=money(top))
    lines = [{"Time": when(int(past.time[row])), **desk.told(int(row))} for row in rows[:-5:-1]]
    for line, bad in zip(lines, known[:-5:-1], strict=True):
        line["Amount"] += " (known as fraud)" if bad else ""
    caption = "This payment, and its account's last ones before" if lines else "This payment"
    return (chart if lines else Markup("")) + table([{"Time": when(moment), **told}, *lines], caption)


@dataclass
class Played:
    """What a visitor has seen of the stream.

    Attributes:
        place: row to go on from.
        count: payments so far.
        trail: expected losses and whether they were alerts, of the last payments.
        alerts, caught: so many alerts, and so many of them fraud; `frauds` in all.
        saved: amounts of the caught ones.
        lines: the latest alerts.
    """

    place: int = 0
    count: int = 0
    alerts: int = 0
    caught: int = 0
    frauds: int = 0
    saved: float = 0.0
    clock: str = ""
    trail: list[tuple[float, bool]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)


def live_tab(desk: Desk, review: gr.Slider, miss: gr.Slider) -> None:
    """Payments of the test days, decided one after another as they came."""
    gr.HTML(
        Markup('<p class="soft">{}</p>').format(
            "Payments of the test days from shortly before their first fraud on, played faster than they came. Each is decided "
            "with what was known at its moment."
        ),
        padding=False,
    )
    with gr.Row():
        start = gr.Button("Start", variant="primary", min_width=120)
        stop = gr.Button("Stop", min_width=120)
        again = gr.Button("From the beginning", min_width=120)
    seen = gr.State(None)
    shown = gr.HTML(stage(desk, Played(), desk.core), label="Live payments", padding=False)

    def play(seen: Played | None, review: float, miss: float) -> Iterator[tuple[Played, str]]:
        seen, detector = seen or Played(desk.first), desk.at(review, miss)
        for decided in itertools.islice(desk.play(seen.place, detector, TICK), TICKS):
            watch(desk, seen, decided)
            yield seen, stage(desk, seen, detector)
            time.sleep(EVERY)

    playing = start.click(play, [seen, review, miss], [seen, shown], show_progress="hidden", trigger_mode="once")
    stop.click(lambda: None, cancels=[playing])
    again.click(lambda: (None, stage(desk, Played(), desk.core)), None, [seen, shown], cancels=[playing])


def watch(desk: Desk, seen: Played, decided: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """Take in decisions, with the rows they belong to."""
    for row, decision in decided:
        past, label = desk.past, desk.label(decision["transaction"])
        amount, alarm = int(past.cents[row]) / 100, bool(decision["alert"])
        seen.place, seen.count, seen.clock = row + 1, seen.count + 1, when(int(past.time[row]))
        seen.frauds += bool(label)
        seen.trail = [*seen.trail, (decision["expected_loss"], alarm)][-TRAIL:]
        if alarm:
            seen.alerts, seen.caught, seen.saved = (
                seen.alerts + 1,
                seen.caught + bool(label),
                seen.saved + amount * bool(label),
            )
            reason = next((one["text"] for one in decision.get("reasons", [])), "")
            came = {} if label is None else {"Outcome": "fraud" if label else "false alarm"}
            told = {"Time": seen.clock, "Amount": money(amount), "Score": f"{decision['score']:.0%}", "Why": reason, **came}
            seen.lines = [told, *seen.lines][:LATEST]


def stage(desk: Desk, seen: Played, detector: Detector) -> str:
    """What the live tab shows."""
    tiles = {"Clock": seen.clock.replace("\xa0", " ") or "–", "Payments": f"{seen.count:,}", "Alerts": f"{seen.alerts:,}"}
    if desk.labelled:
        tiles |= {"Frauds caught": f"{seen.caught:,} of {seen.frauds:,}", "Their amounts": money(seen.saved)}

    def height(loss: float) -> float:
        return float(np.clip(np.log10(max(loss, 1e-9) / detector.rule.threshold) / 6 + 0.6, 0, 1))

    dots = [(place / TRAIL, height(loss), "bad" if alarm else "edge", 12 if alarm else 7)
            for place, (loss, alarm) in enumerate(seen.trail)]  # fmt: skip
    alt = "Expected loss of each payment, on a logarithmic scale; alerts, above the dashed line, are red"
    chart = plot(dots, alt, ("", "now"), level=height(detector.rule.threshold))
    lines = (
        table(seen.lines, "The latest alerts") if seen.lines else notice("Press Start." if not seen.count else "No alert yet.")
    )
    return facts(tiles) + chart + lines


def own_tab(demo: Demo, desk: Desk) -> None:
    """A payment that the visitor makes up."""
    usual = desk.usual(desk.accounts[0] if desk.accounts else "")

    @in_place
    def judge(*given: Given) -> str:
        record = desk.request(given)
        decision: FraudDecision = demo.predict([record | REASONS])[0]
        verdict = notice(
            f"Alert {decision.alert_id} by the run's own threshold."
            if decision.alert
            else "No alert by the run's own threshold.",
            "bad" if decision.alert else "good",
        )
        notes = Markup("").join(notice(f"Less certain: {note}.", "warning") for note in decision.notes)
        told = desk.worded(record["amount"], record["counterparty"], record["extra"].values())
        account, moment = tidy(record["account"]), desk.moment(record["time"])
        return verdict + notes + explained(desk, decision, moment, float(record["amount"]), account, told)

    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            with gr.Row():
                ordinary = gr.Button("As usual", size="sm", min_width=120)
                stolen = gr.Button("As a thief would", size="sm", min_width=120)
            account = choice("Account", desk.accounts[:NAMES], usual[0])
            fields = [
                gr.Number(usual[1], label="Amount"),
                gr.Textbox(str(usual[2]), label="Time", info="ISO 8601", max_lines=1),
                choice("Paid to", desk.payees[:NAMES], usual[3]),
                *(
                    choice(name.capitalize(), desk.values[name][:NAMES], value)
                    for name, value in zip(desk.categories, usual[4:], strict=True)
                ),
            ]
            ask = gr.Button("Judge it", variant="primary")
        with gr.Column(scale=3, min_width=290):
            found = gr.HTML(judge(*usual), label="Decision", padding=False)
    every = [account, *fields]
    ask.click(judge, every, found, show_progress="minimal")
    for button, make in ((ordinary, desk.usual), (stolen, desk.unusual)):
        button.click(make, account, every, show_progress="hidden").success(judge, every, found, show_progress="minimal")
    account.input(desk.usual, account, every, show_progress="hidden").success(judge, every, found, show_progress="minimal")


def choice(label: str, values: Sequence[str], value: Given) -> gr.Dropdown:
    """A name that is chosen or typed; not shown where the data has none."""
    return gr.Dropdown(list(values), value=value, label=label, allow_custom_value=True, visible=bool(values))


def plot(
    dots: Sequence[tuple[float, float, str, float]],
    alt: str,
    ends: tuple[str, str],
    line: Sequence[tuple[float, float]] = (),
    level: float | None = None,
    top: str = "",
    height: float = 8,
) -> Markup:
    """A chart as wide as there is room. It keeps its height: what is drawn stretches, the thickness of its strokes does not.

    Args:
        dots: x and y from 0 to 1, a colour of the style sheet, and the size in px.
        alt: said above it, and to the blind.
        ends: told below its left and its right end.
        line: points of a line. level: y of a dashed one.
        top: told at its upper end. height: in rem.
    """
    stroke = Markup(
        '<path d="{}" stroke="var(--{})" stroke-width="{}" fill="none" stroke-linecap="round" '
        'vector-effect="non-scaling-stroke" {}/>'
    )
    paths = [stroke.format("M0 100H1000", "line", 1, "")]
    if line:
        paths.append(stroke.format("M" + "L".join(f"{1000 * x:.1f} {100 - 100 * y:.1f}" for x, y in line), "edge", 2, ""))
    if level is not None:
        paths.append(stroke.format(f"M0 {100 - 100 * level:.1f}H1000", "bad", 1.5, Markup('stroke-dasharray="6 6"')))
    paths += [stroke.format(f"M{1000 * x:.1f} {100 - 100 * y:.1f}h.01", colour, size, "") for x, y, colour, size in dots]
    return Markup(
        '<figure style="margin:0 0 1.25rem"><figcaption class="soft">{0}{1}</figcaption><svg viewBox="0 0 1000 100" role="img" '
        'aria-label="{0}" preserveAspectRatio="none" style="display:block;width:calc(100% - 20px);height:{5}rem;margin:10px;'
        'overflow:visible">{2}</svg><div class="soft" style="display:flex;justify-content:space-between"><span>{3}</span>'
        "<span>{4}</span></div></figure>"
    ).format(alt, f"; top: {top}" if top else "", Markup("").join(paths), *ends, height)
