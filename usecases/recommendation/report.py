"""The recommender's report and model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shared.evaluation.intervals import Interval
from shared.report import Report, Section, Table, plots, write_card
from shared.runs import Run
from usecases.recommendation.evidence import NAMES, Judge
from usecases.recommendation.predictor import RecommendationResponse

if TYPE_CHECKING:
    from usecases.recommendation.pipeline import Outcome

LIMITS = (
    "It predicts what people will choose next, which is not the same as what is good for them.",
    "It learns from what was shown and chosen before: popular items are favoured (see the popularity percentile).",
    "Offline metrics count only what users happened to choose; an A/B test decides what a change is worth.",
    "The evaluated model is the one that is saved: it has not seen the test part. Train on all data again before long.",
)


def write(run: Run, result: dict[str, Any], outcome: Outcome, shown: list[tuple[int, RecommendationResponse]]) -> None:
    """report.html and model_card.md; `result` is the content of metrics.json, `shown` are a few judged users' lists."""
    sections = [
        _comparison(result, outcome),
        _choice(result, outcome),
        _whom(result),
        _lists(result),
        _examples(outcome, shown),
        _training(outcome, result["headline"]),
    ]
    Report(
        title=f"Recommendation on {result['data']['name']}",
        verdict=result["conclusion"],
        findings=_findings(result, outcome),
        facts=_facts(result, outcome.judge),
        sections=[section for section in sections if section],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"Recommender trained on {result['data']['name']}",
        summary="Ranks items for a user from the items in their history; explains each by the history items that counted most.",
        intended="Choosing what to show next in a shop, library or media service. A person answers for what is offered.",
        limits=LIMITS,
        metrics=result,
    )


def _facts(result: dict[str, Any], judge: Judge) -> list[tuple[str, str]]:
    data, hardware, timing = result["data"], result["hardware"], result["timing"]
    return [
        ("Data", f"{data['events']:,} events of {data['users']:,} users with {data['items']:,} items"),
        ("Users judged", f"{len(judge.users):,}, of them {int(judge.new.sum()):,} new"),
        (
            "Trained in",
            f"{timing['train_s']:.0f} s on {hardware['threads']} {hardware['device']} threads, {hardware['precision']}",
        ),
        ("Batch speed", f"{timing['rows_per_s']:,.0f} users a second"),
        (
            "One request",
            f"{timing['latency_ms_p50']:.0f} ms, 99% within {timing['latency_ms_p99']:.0f} ms, reasons included",
        ),
        ("Seed", str(result["seed"])),
    ]


def _findings(result: dict[str, Any], outcome: Outcome) -> list[str]:
    k, model, lists = outcome.judge.at[0], result["model"], result["lists"]
    found = [
        f"How it was measured: {result['protocol']}.",
        f"Of {k} recommended items at least one was chosen later by {model[f'hit_rate@{k}']['value']:.0%} of the users; "
        f"{model[f'recall@{k}']['value']:.1%} of a user's later choices were in the list.",
    ]
    hurt = [row["slice"] for row in result["slices"] if row["difference"]["high"] < 0]
    if hurt:
        found.append(f"It is worse than {NAMES[result['best_baseline']]} for: {', '.join(hurt)}.")
    coverage, plain = lists["model"][f"coverage@{k}"], lists["popularity"][f"coverage@{k}"]
    found.append(
        f"The lists cover {coverage:.1%} of the catalogue (the most popular items alone: {plain:.1%}); a listed item is on "
        f"average more popular than {lists['model'][f'popularity_percentile@{k}']:.0f}% of all."
    )
    if new := result["new_items"]:
        judged = len(outcome.judge.targets.items)
        share = f"{new['targets']:,} of the {judged:,} later choices were of items too new or rare to train on"
        linked = bool(outcome.blend.cold.indices.shape[1])
        found.append(
            f"{share}. They rank by their text, less {outcome.recipe.penalty:g} deviations as validation picked; "
            f"{new[f'recall@{k}']['value']:.2%} of a user's such choices were in the list."
            if linked
            else f"{share}: they cannot be recommended, because their text is not read (model.text=none, or there is none)."
        )
    return found + [f"In the data: {finding}" for finding in result["data_findings"]]


def _comparison(result: dict[str, Any], outcome: Outcome) -> Section:
    metric = result["headline"]
    judged = {"blend": outcome.ours, **outcome.others}
    intervals = {NAMES[name]: Interval(**one.intervals()[metric]) for name, one in judged.items()}
    intervals = dict(sorted(intervals.items(), key=lambda pair: -pair[1].value))
    text = (
        "All methods rank the same items for the same users. Lines show 95% intervals over users; the differences to the model "
        "are paired, so that they can be sure even where the lines overlap."
    )
    chart = plots.bars(intervals, metric.upper(), [NAMES["blend"]])
    metrics = [name for name in outcome.ours.values if name.endswith(f"@{outcome.judge.at[0]}")]
    rows = [
        [
            NAMES[name],
            *(float(one.values[m].mean()) for m in metrics),
            _interval(result["differences"][name]) if name != "blend" else "",
        ]
        for name, one in judged.items()
    ]
    columns = ["method", *metrics, f"model minus it, {metric}"]
    return Section(
        "How good, against what",
        text,
        [(chart, f"{metric.upper()} of every method on the test part")],
        [Table(columns, rows, 0)],
    )


def _choice(result: dict[str, Any], outcome: Outcome) -> Section:
    recipe = outcome.recipe
    rows = [
        [NAMES[name], value, f"{recipe.weights[name]:.2f}" if name in recipe.weights else ""]
        for name, value in recipe.validation.items()
    ]
    text = (
        "Settings, epochs and the blend's weights were chosen on validation users alone; the test part was scored once. "
        "A member that brought less than 0.2% is left out of the blend."
    )
    return Section(
        "How it was chosen",
        text,
        [],
        [Table(["method", f"{result['headline']} on validation", "weight in the blend"], rows)],
    )


def _whom(result: dict[str, Any]) -> Section:
    best, metric = NAMES[result["best_baseline"]], result["headline"]
    rows = [
        [row["slice"], row["users"], row["model"]["value"], row["baseline"], _interval(row["difference"])]
        for row in result["slices"]
    ]
    columns = ["users", "how many", f"model {metric}", f"{best} {metric}", "difference"]
    return Section(
        "For whom", f"The model and the strongest simple method beside it, {best}, by kind of user.", [], [Table(columns, rows)]
    )


def _lists(result: dict[str, Any]) -> Section:
    rows = [[NAMES.get(name, NAMES["blend"]), *values.values()] for name, values in result["lists"].items()]
    text = (
        "Coverage is the share of the catalogue that is in anyone's list. Novelty is how surprising a listed item is, in bits "
        "(-log2 of the share of users who have it). The percentile is 100 for the most popular item."
    )
    columns = ["method", *(name.replace("_", " ") for name in result["lists"]["model"])]
    return Section("What the lists are like", text, [], [Table(columns, rows, 0)])


def _examples(outcome: Outcome, shown: list[tuple[int, RecommendationResponse]]) -> Section | None:
    if not shown:
        return None
    judge, catalogue, rows = outcome.judge, outcome.stage.catalogue, []
    for user, response in shown:
        last = catalogue.titles[judge.known.take(np.asarray([user])).items[-3:]]
        chosen = set(catalogue.ids[judge.targets.take(np.asarray([user])).items])
        for place, line in enumerate(response.items):
            first = [f"{judge.users[user]}", " · ".join(last)] if place == 0 else ["", ""]
            because = " · ".join(reason.title for reason in line.because)
            rows.append([*first, line.title, because, "yes" if line.item in chosen else ""])
    text = "Random users of the test part: what was known last, what was recommended and why, and whether they chose it later."
    return Section("Examples", text, [], [Table(["user", "last known", "recommended", "because of", "chosen later"], rows)])


def _training(outcome: Outcome, metric: str) -> Section | None:
    fits = outcome.fits
    if not fits:
        return None
    curves = {
        NAMES[name]: ([h["epoch"] for h in one.history], [h["metric"] for h in one.history])
        for name, one in fits.items()
        if one.best_metric is not None
    }
    rows = [
        [NAMES[name], one.best_epoch, one.epochs, f"{one.seconds:.1f}", f"{one.examples_per_s:,.0f}"]
        for name, one in fits.items()
    ]
    text = "The networks' quality on validation users after each epoch; the best epoch counts."
    columns = ["network", "best epoch", "epochs", "seconds", "users a second"]
    return Section(
        "Training",
        text,
        [(plots.lines(curves, "epoch", "NDCG@10 on validation"), "Validation quality by epoch")],
        [Table(columns, rows)],
    )


def _interval(numbers: dict[str, float]) -> str:
    return f"{numbers['value']:+.4f} [{numbers['low']:+.4f}, {numbers['high']:+.4f}]"
