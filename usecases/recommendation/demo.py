"""The page: pick what you like and see shelves with reasons, more or less mixed; nobody's list without a pick; known users."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import gradio as gr
import numpy as np
from markupsafe import Markup

from shared.serving.demo import Demo, slider
from shared.serving.pieces import card, notice, shelf
from usecases.recommendation.predictor import Line, RecommendationResponse, Recommender

OFFERED = 12  # items to pick from at a time
LONG, SHORT = 12, 8  # items on the first shelf, on the others
SIMILAR = 2  # picks that get a shelf of what goes with them
USERS = 300  # known users to choose from
YEAR = re.compile(r" \((\d{4})\)$")
ARTICLE = re.compile(r"^(.*), (The|A|An)( \(\d{4}\))?$")  # as catalogues write it: Matrix, The
NEW, KNOWN = "Somebody new", "A user of the training data"


def page(demo: Demo) -> None:
    """Build it."""
    catalogue = Catalogue(demo.predictor)
    what = catalogue.noun

    def offer(text: str, picked: Sequence[str]) -> gr.CheckboxGroup:
        return gr.CheckboxGroup(choices=catalogue.offer(text, picked))  # no value: a tick made meanwhile would be undone

    def recommend(who: str, picked: Sequence[str], user: str | None, diversity: float) -> str:
        return shelves(demo, catalogue, picked, user if who == KNOWN else None, diversity)

    def begin_again() -> tuple[str, gr.CheckboxGroup]:
        return "", gr.CheckboxGroup(choices=catalogue.offer("", []), value=[])

    def switch(who: str) -> tuple[gr.Column, gr.Column]:
        return gr.Column(visible=who == NEW), gr.Column(visible=who == KNOWN)

    with gr.Row():
        with gr.Column(scale=2, min_width=290):
            who = gr.Radio([NEW, KNOWN], value=NEW, label="For whom?")
            with gr.Column() as newcomer:
                text = gr.Textbox(label=f"Search {len(catalogue.titles):,} {what}", placeholder="part of a title", max_lines=1)
                picked = gr.CheckboxGroup(
                    catalogue.offer("", []), label=f"{what.capitalize()} you like", info="Nothing picked: what a new visitor gets"
                )
                again = gr.Button("Start again", size="sm")
            with gr.Column(visible=False) as known:
                user = gr.Dropdown(catalogue.users(USERS), label="User", info="The model knows what this user chose")
            diversity = slider(
                0, 1, value=0.2, step=0.05, label="Variety", info=f"0: the best scores; towards 1: {what} unlike each other"
            )
        with gr.Column(scale=5, min_width=290):
            found = gr.HTML(recommend(NEW, [], None, 0.2), label="Recommendations", padding=False)

    asked = [who, picked, user, diversity]
    text.change(offer, [text, picked], picked, show_progress="hidden")
    who.change(switch, who, [newcomer, known], show_progress="hidden")
    again.click(begin_again, None, [text, picked])
    changed = [who.change, picked.change, user.change, diversity.change]
    gr.on(changed, recommend, asked, found, show_progress="minimal", trigger_mode="always_last")


def shelves(demo: Demo, catalogue: Catalogue, picked: Sequence[str], user: str | None, diversity: float) -> str:
    """One shelf for the person, one for each of the last picks, one for everybody; answered in one call."""
    mine = {"user": user} if user else {"history": list(picked)}
    liked = list(reversed(picked))[:SIMILAR] if len(picked) > 1 and not user else []  # of one pick the first shelf says it all
    records = [
        {**mine, "k": LONG, "diversity": diversity},
        *({"similar_to": item, "k": SHORT, "deny": list(picked), "diversity": diversity} for item in liked),
        *([{"k": SHORT, "deny": list(picked)}] if user or picked else []),
    ]
    responses = demo.predict(records)
    first = "For you" if picked and not user else f"For user {user}" if user else "For a new visitor"
    titles = [first, *(f"Goes with {catalogue.title(item)}" for item in liked), "Popular with everybody"]
    basis = f"From {responses[0].basis}." if user else catalogue.basis(picked)
    notes = [basis, *("" for _ in liked), "The same list for everyone, for comparison."]
    made = [catalogue.shelf(title, response, note) for title, response, note in zip(titles, responses, notes, strict=False)]
    if user and not responses[0].unknown:
        made.insert(0, notice(f"User {user} chose: {catalogue.chosen(user)}"))
    return Markup("").join(made)


class Catalogue:
    """What the model can recommend, as the page names and finds it."""

    def __init__(self, model: Recommender) -> None:
        self.model = model
        self.titles = dict(zip(model.ids.tolist(), model.titles.tolist(), strict=True))
        scored = len(model.blend.popularity)
        self.popular = model.ids[:scored][np.argsort(-model.blend.popularity.numpy(), kind="stable")].tolist()
        self.popular += model.ids[scored:].tolist()
        self.noun = "films" if "movielens" in str(model.about.get("data", "")).lower() else "items"

    def title(self, item: str) -> str:
        return ARTICLE.sub(r"\2 \1\3", self.titles.get(item) or item)

    def offer(self, text: str, picked: Sequence[str]) -> list[tuple[str, str]]:
        """Label and id of what can be ticked: what is picked, then the most popular whose title has every word of the text."""
        wanted = text.lower().split()
        fitting = (item for item in self.popular if all(word in self.title(item).lower() for word in wanted))
        others = [item for item, _ in zip((item for item in fitting if item not in picked), range(OFFERED), strict=False)]
        return [(self.title(item), item) for item in [*picked, *others]]

    def basis(self, picked: Sequence[str]) -> str:
        return (
            f"From the {self.noun} that you picked." if picked else "What is popular. Tick what you like, and it becomes yours."
        )

    def users(self, most: int) -> list[str]:
        return list(self.model.users[:most])

    def chosen(self, user: str, most: int = 6) -> str:
        """The last titles of a known user's history."""
        place = self.model.users.get_indexer([user])
        items = self.model.histories.take(place).items
        last = [self.title(self.model.ids[item]) for item in items[-most:][::-1]]
        return ", ".join(last) + (f" and {len(items) - most} more" if len(items) > most else "")

    def shelf(self, title: str, response: RecommendationResponse, note: str) -> Markup:
        return shelf(title, [self.card(line) for line in response.items], note)

    def card(self, line: Line) -> Markup:
        """One recommendation; its colour comes from its id, so that it has the same on every shelf."""
        reasons = " and ".join(short(self.title(reason.item)) for reason in line.because)
        title = self.title(line.item)
        year = YEAR.search(title)
        cover = year[1] if year else re.sub("^(The|A|An) ", "", title)[:1].upper()
        return card(short(title), f"because of {reasons}" if reasons else "", cover, zlib.crc32(line.item.encode()))


def short(title: str) -> str:
    """A title without its year."""
    return YEAR.sub("", title)
