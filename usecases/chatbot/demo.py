"""The page: a conversation with sources and buttons; beside it what was understood of the last message, and what was done."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from shared.serving.demo import Demo
from shared.serving.pieces import notice
from usecases.chatbot import replies
from usecases.chatbot.answers import LONGEST, ChatResponse
from usecases.chatbot.assistant import Assistant
from usecases.chatbot.content import Desk, Slot
from usecases.chatbot.shop_content import Content, Order
from usecases.chatbot.state import Source, State

BUTTONS = 8  # replies that are offered at a time
SAMPLES = 5  # of a desk's utterances, to begin with
ORDERS = 8  # of the demonstration shop, to try it with
SHOWN = 1000  # characters of the visitor's message
LEAST = 0.005  # probability of an intent that is told
STARRED = re.compile(r"\*\*(.+?)\*\*")
ITEM = re.compile(r"(?:^|(?<=<br>))[-*] ")
STARTERS = (
    "How much is delivery to Austria and Switzerland?",
    "Where is my order?",
    "I'd like to cancel an order",
    "jacket is broken",
    "What are the opening hours of your Munich shop? And where is my order?",
    "I want to talk to a human",
    "Who won the football match last night?",
)
"""To begin with in the demonstration shop: answer, form, one to be confirmed, choice, two things, hand-over, nothing known."""
DONE = {
    "answers": "Answers from the article",
    "quoted": "Quotes it, because",
    "asks": "Asks for",
    "confirms": "Asks for a yes to",
    "does": "Does",
    "fails": "Tries in vain",
    "with": "with",
    "says": "Small talk",
    "clarifies": "Asks which is meant",
    "falls_back": "Gives no answer, times in a row",
    "hands_over": "Hands over to a colleague",
    "cancels": "Stops",
}
"""Events, in words."""
STYLE = Markup("""<style>
.gradio-container .told h3 { font-size: 1rem; margin: 1.1rem 0 .45rem !important; color: var(--ink); }
.gradio-container .told h3:first-child { margin-top: 0 !important; }
.gradio-container .told dl { display: grid; grid-template-columns: auto 1fr; gap: .3rem .9rem; margin: 0; font-size: .92rem; }
.gradio-container .told dt { color: var(--soft); white-space: nowrap; }
.gradio-container .told dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.gradio-container .offers { gap: .5rem; }
.gradio-container .offers button { flex: 0 1 auto; width: auto; min-width: 0; border-radius: 999px; padding: .35rem .85rem;
  font-weight: 400; }
.gradio-container .ask .input-container { border: 1px solid var(--edge); border-radius: 8px; padding: .2rem .4rem;
  align-items: center; }
.gradio-container .ask .input-container button { margin: 0; padding: 0 1rem; border-radius: 6px; font-weight: 600;
  background: var(--accent); color: var(--paper); }
.gradio-container .talk .prose { opacity: 1 !important; }
.gradio-container .talk .placeholder-content { text-align: center; padding: 0 1rem; }
.gradio-container .talk :is(.said, details > div) { color: var(--ink) !important; overflow-wrap: anywhere; }
.gradio-container .talk details { margin-top: .6rem; padding-bottom: .2rem; font-size: .9rem; }
.gradio-container .talk summary { cursor: pointer; color: var(--accent) !important; }
.gradio-container .talk details > div { border-left: 3px solid var(--edge); padding-left: .75rem; margin: .4rem 0; }
.gradio-container .talk .colleague > div { border-color: var(--warn); }
</style>""")


def page(demo: Demo) -> None:
    """Build it."""
    assistant: Assistant = demo.predictor.assistant
    shop = Content.model_validate(assistant.shop) if assistant.shop else None

    def talk(message: str, said: list[Any], state: dict[str, Any] | None) -> list[Any]:
        if not message.strip():
            return [gr.skip()] * (4 + BUTTONS)
        (response,) = demo.predict([{"message": message, "state": state}])
        shown = [*said, bubble("user", said_so(lines(clipped(message)))), bubble("assistant", answer(response))]
        return ["", shown, response.state, told(assistant.desk, response), *buttons(offered(response))]

    def offered(response: ChatResponse) -> Sequence[str]:
        """What may be said next: in a form what it asks for, else the assistant's suggestions, or those to begin with."""
        state = State.model_validate(response.state or {})
        return [*response.suggestions, *to_try(assistant.desk, shop, state)] or ([] if state.form else starters(assistant))

    def begin() -> list[Any]:
        return ["", [], None, HERE, *buttons(starters(assistant))]

    gr.HTML(STYLE, padding=False)
    with gr.Row():
        with gr.Column(scale=3, min_width=290):
            chat = gr.Chatbot(
                label="Conversation",
                show_label=False,
                elem_classes="talk",
                height=440,
                buttons=["copy_all"],
                latex_delimiters=[],
                layout="bubble",
                feedback_options=None,
                placeholder="Be a customer: take a suggestion, or write your own message.",
            )
            with gr.Row(elem_classes="offers"):
                offers = [gr.Button(size="sm", **shown) for shown in _offers(starters(assistant))]
            text = gr.Textbox(
                label="Your message",
                elem_classes="ask",
                placeholder="Write as a customer would",
                max_lines=4,
                max_length=LONGEST,
                submit_btn="Send",
            )
            again = gr.Button("New conversation", size="sm")
        with gr.Column(scale=2, min_width=290):
            panel = gr.HTML(HERE, label="What was understood", padding=False)
            if assistant.services:
                gr.HTML(notice("Forms call the company's services for real.", "warning"), padding=False)
            if shop:
                with gr.Accordion("Orders to ask about", open=False):
                    gr.HTML(orders(shop), label="Orders of the demonstration shop", padding=False)
    state = gr.State(None)

    changed = [text, chat, state, panel, *offers]
    text.submit(talk, [text, chat, state], changed, show_progress="hidden")
    for offer in offers:
        offer.click(talk, [offer, chat, state], changed, show_progress="hidden")
    gr.on([again.click, chat.clear], begin, None, changed, show_progress="hidden")


def starters(assistant: Assistant) -> Sequence[str]:
    """Messages to begin with."""
    return STARTERS if assistant.shop else assistant.samples[:SAMPLES]


def buttons(offered: Sequence[str]) -> list[gr.Button]:
    """The buttons with what is offered now; the others are not to be seen."""
    return [gr.Button(**shown) for shown in _offers(offered)]


def _offers(offered: Sequence[str]) -> list[dict[str, Any]]:
    some = list(dict.fromkeys(offered))[:BUTTONS]
    return [{"value": text, "visible": True} for text in some] + [{"value": "", "visible": False}] * (BUTTONS - len(some))


def to_try(desk: Desk | None, shop: Content | None, state: State) -> list[str]:
    """What the demonstration shop knows for the slot that is asked for: a visitor has no order number at hand."""
    if desk is None or shop is None or state.form is None or state.asked is None:
        return []
    kind = desk.forms[state.form].slots[state.asked].type
    number = state.slots.get("order_number") or state.slots.get("return_number")
    if kind == "order_number":
        return [order.number for order in customers_orders(shop)]
    if kind == "return_number":
        return [one.number for order in shop.orders for one in order.returns][:3]
    if kind == "gift_card":
        return [card.number for card in shop.gift_cards][:3]
    if kind == "email":
        theirs = (order.email for order in shop.orders if number in (order.number, *(one.number for one in order.returns)))
        return [next(theirs, shop.customers[0].email)] if shop.customers else []
    return []


def customers_orders(shop: Content) -> list[Order]:
    """Those of the first order's customer: in different states, and the e-mail is the same."""
    return [order for order in shop.orders if order.email == shop.orders[0].email][:4]


def orders(shop: Content) -> Markup:
    """Numbers and e-mails that work."""
    some = [(order.number, f"{order.email}, {order.status}") for order in shop.orders[:ORDERS]]
    day = f" There it is {replies.spoken(shop.today.isoformat())}." if shop.today else ""
    about = f"Invented orders of the demonstration shop.{day} Who cancels one has it cancelled until the server starts again."
    return Markup('<div class="told"><p class="soft">{}</p>{}</div>').format(about, rows(some))


# ------------------------------------------------------------------ the conversation


def bubble(role: str, html: Markup) -> dict[str, str]:
    """A message of the chat. One line of HTML: Gradio reads Markdown, which leaves such a line as it is."""
    return {"role": role, "content": str(html)}


def said_so(text: Markup) -> Markup:
    return Markup('<div class="said">{}</div>').format(text)


def lines(text: str) -> Markup:
    """Text as it was written, escaped."""
    return Markup("<br>").join(text.splitlines())


def bold(text: str) -> Markup:
    """What a team has written in Markdown, as far as help pages go: bold and lists. It may hold a customer's words: escaped."""
    marked = STARRED.sub(r"<b>\1</b>", str(lines(text)))
    return Markup(ITEM.sub("• ", marked))


def clipped(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def answer(response: ChatResponse) -> Markup:
    """The reply, below it its sources and what a colleague is told, each folded or open."""
    about = words(response.intents[0].intent) if response.understood and response.intents else "nothing known"
    parts = [said_so(bold(response.reply or f"About: {about}. This model was trained to tell that, and has no replies."))]
    parts += [source(one) for one in response.sources]
    if response.summary is not None:
        card = '<details class="colleague" open><summary>What the colleague is told</summary><div>{}</div></details>'
        parts.append(Markup(card).format(lines(response.summary)))
    return Markup("").join(parts)


def source(one: Source) -> Markup:
    heading = f" – {one.heading}" if one.heading else ""
    return folded(f"Source: {one.title}{heading} ({one.probability:.0%} sure that it answers)", bold(one.text))


def folded(title: str, text: Markup) -> Markup:
    return Markup("<details><summary>{}</summary><div>{}</div></details>").format(title, text)


# ------------------------------------------------------------------ what was understood


HERE = Markup('<div class="told">{}</div>').format(
    notice("With each message you see here what the assistant takes it for, what it finds in it, and what it does.")
)


def told(desk: Desk | None, response: ChatResponse) -> Markup:
    """The side panel: intents, outside, entities, the open form, events."""
    state = State.model_validate(response.state or {})
    guesses = {words(one.intent): one.probability * (1 - response.outside) for one in response.intents}
    likely = {name: share for name, share in guesses.items() if share >= LEAST}
    parts = [Markup("<h3>What the message is about</h3>"), shares(likely, response.outside)]
    lost = any("falls_back" in event for event in response.events)
    if response.events and not lost and not response.understood:
        parts.append(Markup('<p class="soft">By itself it says nothing known; here it answers what was asked.</p>'))
    elif lost or not response.understood:
        nothing = "that no article surely answers" if response.understood else "about nothing that the assistant knows"
        parts.append(notice(f"Taken for a message {nothing}.", "warning"))
    if response.entities:
        found = [(words(one.type), f"{spoken(one.value)} (“{one.text}”)") for one in response.entities]
        parts += [Markup("<h3>Found in it</h3>"), rows(found)]
    if desk and state.form:
        parts += [Markup("<h3>Form: {}</h3>").format(words(state.form)), rows(slots(desk, state))]
    if state.queue:
        parts.append(rows([("then", ", ".join(words(one.form) for one in state.queue))]))
    if response.events:
        parts += [Markup("<h3>What it did</h3>"), rows(done(response.events))]
    return Markup('<div class="told">{}</div>').format(Markup("").join(parts))


def shares(guesses: Mapping[str, float], outside: float) -> Markup:
    """Probabilities as bars, where 1 is as long as there is room; last that of nothing known."""
    every = [(name, share, "up") for name, share in guesses.items()] + [("nothing known here", outside, "down")]
    bars = (
        Markup('<li><span>{}</span><b>{:.0%}</b><i class="{}" style="width:{:.1f}%"></i></li>').format(
            name, share, kind, 100 * share
        )
        for name, share, kind in every
    )
    return Markup('<div class="bars"><ul>{}</ul></div>').format(Markup("").join(bars))


def rows(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and values below each other."""
    return Markup("<dl>{}</dl>").format(
        Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in pairs)
    )


def slots(desk: Desk, state: State) -> list[tuple[str, str]]:
    """Everything that the open form needs."""
    assert state.form is not None

    def value(name: str, slot: Slot) -> str:
        if name in state.slots:
            return f"✓ {replies.spoken(state.slots[name], slot)}"
        return "asked now" if name == state.asked else "still open"

    return [(words(name), value(name, slot)) for name, slot in desk.forms[state.form].slots.items()]


def done(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Events in words."""
    return [(DONE.get(name, words(name)), spoken(value)) for event in events for name, value in event.items()]


def spoken(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words(name)}: {replies.spoken(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return words(value) if isinstance(value, str) and "@" not in value else replies.spoken(value)


def words(name: str) -> str:
    """An intent's, form's or slot's name as it is read."""
    return name.replace("_", " ")
