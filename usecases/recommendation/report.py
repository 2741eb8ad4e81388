"""The recommender's report and model card."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.evaluation.intervals import Interval
from shared.report import Report, Section, Table, plots, write_card
from shared.runs import Run
from shared.training import Fitted
from usecases.recommendation.evidence import Judge, Judged
from usecases.recommendation.fitting import Recipe

NAMES = {
    "blend": "blend (the model)",
    "popularity": "popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
    "near_knn": "item-kNN, near in time",
    "near_ease": "EASE, near in time",
    "vae": "variational autoencoder",
    "transformer": "transformer",
}
LIMITS = (
    "It predicts what people will choose next, which is not the same as what is good for them.",
    "It learns from what was shown and chosen before: popular items are favoured (see the popularity percentile).",
    "Offline metrics count only what users happened to choose; an A/B test decides what a change is worth.",
    "The evaluated model is the one that is saved: it has not seen the test part. Train on all data again before long.",
)


def write(
    run: Run,
    result: dict[str, Any],
    recipe: Recipe,
    judge: Judge,
    ours: Judged,
    others: dict[str, Judged],
    fits: dict[str, Fitted],
    examples: list[dict[str, Any]],
) -> None:
    """report.html and model_card.md from what was measured; `others` are the baselines, then the blend's parts."""
    metric, k = judge.headline, judge.at[0]
    sections = [
        _comparison(metric, ours, others, result),
        _choice(recipe, metric),
        _whom(result, metric),
        _lists(ours, others, judge, k),
        _examples(examples),
        _training(fits, metric),
    ]
    Report(
        title=f"Recommendation on {result['data']['name']}",
        verdict=result["conclusion"],
        findings=_findings(result, judge, ours, others),
        facts=_facts(result, judge),
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
    data, hardware = result["data"], result["hardware"]
    return [
        ("Data", f"{data['events']:,} events of {data['users']:,} users with {data['items']:,} items"),
        ("Protocol", result["protocol"]),
        ("Users judged", f"{len(judge.users):,}, of them {int(judge.new.sum()):,} new"),
        ("Trained in", f"{result['timing']['train_s']:.0f} s on {hardware['threads']} threads, {hardware['precision']}"),
        ("Batch speed", f"{result['timing']['rows_per_s']:,.0f} users a second"),
        ("One request", f"{result['timing']['latency_ms_p50']:.1f} ms (99%: {result['timing']['latency_ms_p99']:.1f} ms), reasons included"),
    ]


def _findings(result: dict[str, Any], judge: Judge, ours: Judged, others: dict[str, Judged]) -> list[str]:
    k = judge.at[0]
    hit, recall = ours.values[f"hit_rate@{k}"].mean(), ours.values[f"recall@{k}"].mean()
    found = [f"Of {k} recommended items at least one was chosen later by {hit:.0%} of the users; {recall:.1%} of all later choices were in the list."]
    if hurt := [row for row in result["slices"] if row["difference"]["high"] < 0]:
        found.append("It is worse than the best simple method for: " + ", ".join(row["slice"] for row in hurt) + ".")
    coverage, popular = ours.beyond[f"coverage@{k}"], ours.beyond[f"popularity_percentile@{k}"]
    plain = others["popularity"].beyond[f"coverage@{k}"]
    found.append(f"The lists cover {coverage:.1%} of the catalogue (most popular items alone: {plain:.1%}); a listed item is on average more popular than {popular:.0f}% of all.")
    if cold := result.get("new_items"):
        recall = cold[f"recall@{k}"]["value"]
        found.append(f"{cold['targets']:,} later choices were of items without enough events to train on. Their text brings {recall:.1%} of them into the lists; without it none could be.")
    found += [f"In the data: {finding}" for finding in result["data_findings"]]
    return found


def _comparison(metric: str, ours: Judged, others: dict[str, Judged], result: dict[str, Any]) -> Section:
    judged = {"blend": ours, **others}
    intervals = {NAMES[name]: Interval(**one.intervals()[metric]) for name, one in judged.items()}
    intervals = dict(sorted(intervals.items(), key=lambda pair: -pair[1].value))
    columns = ["method", *ours.values]
    rows = [[NAMES[name], *(float(v.mean()) for v in one.values.values())] for name, one in judged.items()]
    gap = result["difference_to_parts"]
    text = (
        f"All methods rank the same items for the same users. {result['conclusion']} The blend against its own best part, "
        f"{NAMES[gap['name']]}: {gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]. Lines show 95% intervals over users; "
        "differences are paired, so that they can be sure even where the lines overlap."
    )
    chart = plots.bars(intervals, metric.upper(), [NAMES["blend"]])
    return Section("How good, against what", text, [(chart, f"{metric.upper()} of every method on the test part")], [Table(columns, rows, 0)])


def _choice(recipe: Recipe, metric: str) -> Section:
    shares = {NAMES[name]: Interval(weight, weight, weight) for name, weight in sorted(recipe.weights.items(), key=lambda p: -p[1])}
    rows = [[NAMES[name], value, recipe.weights.get(name, "–")] for name, value in recipe.validation.items()]
    text = (
        "Settings, epochs and the blend's weights were chosen on validation users alone; the test part was scored once, afterwards. "
        "A member that brought less than 0.2% was left out."
    )
    chart = plots.bars(shares, "weight in the blend", list(shares))
    return Section("How it was chosen", text, [(chart, "Weights of the blend")], [Table(["method", f"{metric} on validation", "weight"], rows)])


def _whom(result: dict[str, Any], metric: str) -> Section:
    best = result["best_baseline"]
    rows = [
        [row["slice"], row["users"], row["model"]["value"], row["baseline"], f"{row['difference']['value']:+.4f} [{row['difference']['low']:+.4f}, {row['difference']['high']:+.4f}]"]
        for row in result["slices"]
    ]
    columns = ["users", "how many", f"model {metric}", f"{NAMES[best]} {metric}", "difference, 95% interval"]
    return Section("For whom", f"The model and {NAMES[best]}, the strongest simple method, by kind of user.", [], [Table(columns, rows)])


def _lists(ours: Judged, others: dict[str, Judged], judge: Judge, k: int) -> Section:
    judged = {"blend": ours, **others}
    rows = [[NAMES[name], *one.beyond.values()] for name, one in judged.items()]
    columns = ["method", f"coverage@{k}", f"novelty@{k} (bits)", f"popularity percentile@{k}"]
    text = (
        "Coverage is the share of the catalogue that is in anyone's list. Novelty is how surprising a listed item is, in bits "
        "(-log2 of the share of users who have it). The percentile is 100 for the most popular item."
    )
    return Section("What the lists are like", text, [], [Table(columns, rows, 0)])


def _examples(examples: list[dict[str, Any]]) -> Section | None:
    if not examples:
        return None
    rows = [[e["user"], e["history"], line["title"], ", ".join(line["because"]), "yes" if line["hit"] else ""] for e in examples for line in e["items"]]
    text = "Random users of the test part: what was known last, what was recommended and why, and whether they chose it later."
    return Section("Examples", text, [], [Table(["user", "last known", "recommended", "because of", "chosen later"], rows)])


def _training(fits: dict[str, Fitted], metric: str) -> Section | None:
    if not fits:
        return None
    curves = {NAMES[name]: ([h["epoch"] for h in one.history], [h["metric"] for h in one.history]) for name, one in fits.items()}
    rows = [[NAMES[name], one.best_epoch, one.epochs, round(one.seconds, 1), f"{one.examples_per_s:,.0f}"] for name, one in fits.items()]
    text = "The networks' quality on validation after each epoch. The best epoch counts; on all of the past they are trained for as many."
    columns = ["network", "best epoch", "epochs", "seconds", "users a second"]
    return Section("Training", text, [(plots.lines(curves, "epoch", metric.upper()), "Validation quality by epoch")], [Table(columns, rows)])


def example_rows(judge: Judge, ours: Judged, responses: list[Any], picked: np.ndarray) -> list[dict[str, Any]]:
    """Recommendations of a few users in words, from the predictor's responses to the judge's `picked` users."""
    titles = judge.stage.catalogue.titles
    rows = []
    for response, user in zip(responses, picked, strict=True):
        hits = dict(zip(ours.top[user].tolist(), ours.hit[user].tolist(), strict=True))
        known = judge.known.take(np.asarray([user])).items
        place = {item_id: index for index, item_id in enumerate(judge.stage.catalogue.ids)}
        rows.append(
            {
                "user": str(judge.users[user]),
                "history": ", ".join(titles[known[-3:]]),
                "items": [
                    {"title": line.title, "because": [reason.title for reason in line.because], "hit": hits.get(place[line.item], False)}
                    for line in response.items
                ],
            }
        )
    return rows
