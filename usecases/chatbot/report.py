"""The report and the model card of an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.evaluation.calibration import Calibration
from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import Interval
from shared.report import Numeral, Report, Section, Table, plots, write_card
from shared.runs import Run
from usecases.chatbot.evidence import Judged
from usecases.chatbot.protocols import Scores

LIMITS = (
    "It knows the intents and articles that it was given and nothing else. What is about none of them should be refused; the "
    "report says how often that fails.",
    "Answers are passages of the articles, {wording}: an article that is wrong or out of date is answered with.",
    "It reads one language, that of its utterances and articles; messages in another are refused or misread.",
    "An e-mail address and an order number together open an order: whoever knows both is believed. Where that is not enough, "
    "put the assistant behind a login.",
    "Personal data is masked in its log by patterns, which do not find everything.",
    "Probabilities and limits hold for messages like those of the data; those of real customers are longer and messier. Judge "
    "it on some of your own with `usecases evaluate` before it meets a customer.",
)
QUOTED = "word for word"
WORDED = "in the words of the language model {model} where a check finds them supported, which can err, else word for word"
METRICS = {
    "accuracy": "messages given the right intent",
    "macro_f1": "F1, mean over intents",
    "ece": "calibration error of the probability",
    "oos_auroc": "AUROC of telling messages about nothing it knows",
    "oos_recall": "of these refused, at the limit that is used",
    "oos_false_alarms": "of the others refused, at that limit",
}
SHOWN = 15  # intents


def write(run: Run, result: dict[str, Any], judged: Judged, methods: Mapping[str, Scores], wording: str | None = None) -> None:
    """report.html and model_card.md.

    Args:
        result: the content of metrics.json.
        wording: the language model that words the answers; None: they are quoted.
    """
    ours, name = methods[result["name"]], result["data"]["name"]
    parts = [
        _comparison(result),
        _choice(result),
        _conversations(result),
        _articles(result),
        _intents(result),
        _outside(result, judged, methods),
        _calibration(judged, ours),
    ]
    Report(
        title=f"Chatbot on {name}",
        verdict=result["conclusion"],
        tiles=_tiles(result),
        findings=_findings(result),
        facts=_facts(result),
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"Assistant trained on {name}",
        summary="Tells what a customer's message is about, or that it is about nothing it knows; answers with a passage of the "
        "help articles, fills forms, asks back, hands over to a human.",
        intended="First line of a support desk's chat, with people behind it who take over.",
        limits=[limit.format(wording=WORDED.format(model=wording) if wording else QUOTED) for limit in LIMITS],
        metrics=result,
    )


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = result["model"]
    tiles = [(f"{model['accuracy']['value']:.1%}", "of the messages get the right intent")]
    if "oos_recall" in model:
        tiles.append((f"{model['oos_recall']['value']:.0%}", "of the messages about nothing it knows are refused"))
        tiles.append((f"{model['oos_false_alarms']['value']:.1%}", "of the others are refused by mistake"))
    if articles := result["articles"]:
        own = articles["methods"][articles["name"]]
        tiles.append((f"{own['answered']['value']:.0%}", "of the questions that articles answer are shown the right one first"))
    if talks := result["conversations"]:
        name, part = _foremost(talks)
        tiles.append((f"{part['passed']['value']:.0%}", f"of the {name} conversations go as they should"))
    return tiles


def _findings(result: Mapping[str, Any]) -> list[str]:
    told = [f"How it was measured: {result['protocol']}."]
    if articles := result["articles"]:
        own = articles["methods"][articles["name"]]
        told.append(
            f"Of {articles['answerable']} questions that the articles answer, written apart from them, "
            f"{own['answered']['value']:.0%} are answered by the right article; of {articles['unanswerable']} that they do not, "
            f"{own['refused']['value']:.0%} get an 'I do not know'."
        )
    if talks := result["conversations"]:
        name, part = _foremost(talks)
        told.append(f"{part['went']} of {part['scripts']} {name} conversations go as they should.")
    if worst := [row for row in result["intents"] if row["messages"] >= 3 and row["recall"] < 0.6]:
        told.append(f"Weak intents: {', '.join(row['intent'] for row in worst[:8])}. They need more, or other, utterances.")
    return told + [f"In the data: {finding}" for finding in result["data_findings"]]


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, hardware, timing = result["data"], result["hardware"], result["timing"]
    return [
        ("Data", f"{data['utterances']:,} messages with {data['intents']:,} intents, {data['out_of_scope']:,} with none"),
        (
            "Trained in",
            f"{timing['train_s']:.0f} s on {hardware['threads']} {hardware['device']} threads, {hardware['precision']}",
        ),
        ("Batch speed", f"{timing['rows_per_s']:,.0f} messages a second understood"),
        (
            "One message",
            f"{timing['latency_ms_p50']:.0f} ms, 99% within {timing['latency_ms_p99']:.0f} ms, through everything",
        ),
        ("Seed", str(result["seed"])),
    ]


def _comparison(result: Mapping[str, Any]) -> Section:
    tables = {result["name"]: result["model"], **result["baselines"]}
    tables = dict(sorted(tables.items(), key=lambda pair: -pair[1]["accuracy"]["value"]))
    intervals = {name: Interval(**one["accuracy"]) for name, one in tables.items()}
    rows = [
        [name, *(one[metric]["value"] for metric in result["model"]), _gap(result["differences"].get(name))]
        for name, one in tables.items()
    ]
    metrics = "; ".join(f"{metric}: {METRICS[metric]}" for metric in result["model"])
    return Section(
        "How good, against what",
        "All methods learn from the same messages and are judged on the same others. Lines show 95% intervals over messages; the "
        f"differences are paired. {metrics[0].upper()}{metrics[1:]}.",
        [(plots.bars(intervals, "share of messages given the right intent", [result["name"]]), "Accuracy of every method")],
        [Table(["method", *result["model"], "model minus it, accuracy"], rows, list(tables).index(result["name"]))],
    )


def _gap(difference: Mapping[str, Mapping[str, float]] | None) -> Numeral:
    if difference is None:
        return Numeral("")
    numbers = difference["accuracy"]
    return Numeral(f"{numbers['value']:+.4f} [{numbers['low']:+.4f}, {numbers['high']:+.4f}]")


def _choice(result: Mapping[str, Any]) -> Section:
    choice = result["choice"]
    rows = [[name, one["accuracy"], one["log_loss"]] for name, one in choice["candidates"].items()]
    outside = [[name, value] for name, value in choice["outside"].items()]
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in choice["weights"].items())
    rejection = ", ".join(choice["rejection"]["weights"])
    return Section(
        "How it was chosen",
        "The methods, their weights in the blend and the limits were chosen on validation messages alone; the test part was "
        f"scored once. Weights of the log-probabilities: {weights}. What tells messages about nothing known: {rejection}.",
        [],
        [
            Table(["blend", "accuracy on validation", "log-loss there"], rows),
            *([Table(["score of being outside", "AUROC on validation"], outside)] if outside else []),
        ],
    )


def _conversations(result: Mapping[str, Any]) -> Section | None:
    talks = result["conversations"]
    if not talks:
        return None
    kinds = sorted({kind for part in talks.values() for kind in part["kinds"]})
    rows = [[kind, *(_passed(part["kinds"].get(kind)) for part in talks.values())] for kind in kinds]
    bars = {f"{part.replace('_', ' ')} part": Interval(**one["passed"]) for part, one in talks.items()}
    failed = [
        [one["conversation"], one["turn"], one["user"], one["expected"], one["got"]]
        for one in _foremost(talks)[1]["differences"][:10]
    ]
    tables = [Table(["kind", *(part.replace("_", " ") for part in talks)], rows)]
    if failed:
        columns = ["conversation", "turn", "the customer said", "expected", "got"]
        tables.append(Table(columns, failed, caption="What went otherwise"))
    replayed, written = (sum(part[key] for part in talks.values()) for key in ("scripts", "written"))
    return Section(
        "Whole conversations",
        "Scripts are replayed turn by turn; one that differs anywhere has failed. Rules were made with the tuning part in view, "
        "never with the held-out one. The model has not seen these messages."
        + (f" Only {replayed} of the {written} scripts were replayed, as `judging.every` asks." if replayed < written else ""),
        [(plots.bars(bars, "share of conversations that go as they should", ["held out part"]), "Conversations that pass")],
        tables,
    )


def _foremost(talks: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The held-out part, or the only one."""
    return ("held-out", talks["held_out"]) if "held_out" in talks else ("scripted", talks["tuning"])


def _passed(counts: tuple[int, int] | None) -> str:
    return f"{counts[0]} of {counts[1]}" if counts else ""


def _articles(result: Mapping[str, Any]) -> Section | None:
    articles = result["articles"]
    if not articles:
        return None
    rows = [
        [name, one["first"]["value"], one["answered"]["value"], one["refused"]["value"]]
        for name, one in sorted(articles["methods"].items(), key=lambda pair: -pair[1]["answered"]["value"])
    ]
    bars = {name: Interval(**one["answered"]) for name, one in articles["methods"].items()}
    return Section(
        "Answers from the articles",
        f"{articles['answerable']} questions that an article answers and {articles['unanswerable']} that none does, held out. "
        "Right: the first passage is of a right article and above the limit, so that it is shown. Each method has its own limit, "
        "chosen on the tuning half.",
        [(plots.bars(bars, "share of questions answered by the right article", [articles["name"]]), "Right article first")],
        [Table(["method", "right article first", "and shown", "unanswerable ones refused"], rows)],
    )


def _intents(result: Mapping[str, Any]) -> Section:
    rows = [
        [row["intent"], row["messages"], row["recall"], row["precision"] if row["precision"] is not None else float("nan")]
        for row in result["intents"][:SHOWN]
    ]
    confused = [[row["is"], row["taken for"], row["times"], row["such as"]] for row in result["confused"]]
    tables = [Table(["intent", "messages", "recall", "precision"], rows)]
    if confused:
        tables.append(Table(["is", "taken for", "times", "such as"], confused))
    return Section("The weakest intents", f"The {len(rows)} with the lowest recall, and what they are taken for.", [], tables)


def _outside(result: Mapping[str, Any], judged: Judged, methods: Mapping[str, Scores]) -> Section | None:
    if "oos_auroc" not in result["model"]:
        return None
    truth = (~judged.inside).astype(np.int64)
    curves = {name: Ranked(truth, one.outside).precision_recall() for name, one in methods.items()}
    return Section(
        "Knowing what it does not know",
        f"{int(truth.sum())} of the judged messages are about none of the intents. Taken for such, a message gets a question "
        "back instead of a wrong answer.",
        [(plots.precision_recall(curves, float(truth.mean())), "Precision and recall of telling such messages")],
    )


def _calibration(judged: Judged, scores: Scores) -> Section:
    inside = judged.inside
    right = (scores.probabilities.argmax(1) == judged.labels)[inside].astype(np.int64)
    curve = Calibration(np.clip(scores.probabilities.max(1)[inside], 0, 1), right).reliability()
    return Section(
        "Are its probabilities true?",
        "Of messages given an intent with 80%, 80% should have it.",
        [(plots.reliability({"model": curve}), "Probability said and share that is right")],
    )
