"""Dead ends in what a support team has written: references, forms, placeholders, and intents that nothing answers."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from shared.errors import Collector, Finding, UserError, nearest
from usecases.chatbot import desk as folder
from usecases.chatbot import documents, shop_content
from usecases.chatbot.actions import HttpAction, PythonAction, imported
from usecases.chatbot.content import ANY, Form, Slot
from usecases.chatbot.corpus import normalised
from usecases.chatbot.desk import ARTICLES, CONVERSATIONS, FORMS, INTENTS, QUESTIONS, Content
from usecases.chatbot.shop import Shop

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
STEERING = ("affirm", "deny", "cancel", "repeat", "help", "talk_to_human", "greeting")


class Action(NamedTuple):
    """What an action takes from the form and what it gives for its last sentence; None: not told."""

    takes: frozenset[str] | None
    gives: frozenset[str] | None


SHOP_GIVES = {
    "look_up_order": "status status_text",
    "create_return": "return_number label_days",
    "create_refund_request": "request_number",
    "change_delivery_address": "",
    "cancel_order": "refund_text",
    "book_fitting": "time shop_address",
    "create_damage_report": "report_number",
    "look_up_return": "stage stage_text",
    "look_up_gift_card": "balance valid_until",
}
"""The values that actions of the embedded shop give."""


def shop_actions() -> dict[str, Action]:
    """Those of the embedded shop."""
    return {
        name: Action(frozenset(inspect.signature(getattr(Shop, name)).parameters) - {"self"}, frozenset(gives.split()))
        for name, gives in SHOP_GIVES.items()
    }


def check(content: Content, faults: Collector) -> None:
    """Add everything that cannot be reached or answered, or refers to what is not there."""
    _intents(content, faults)
    _articles(content, faults)
    _shop(content, faults)
    known = _actions(content, faults)
    for name, form in content.desk.forms.items():
        _slots(name, form, content, faults)
        _action(name, form, known, content, faults)
    used = {intent.form for intent in content.desk.intents.values()}
    for name in content.desk.forms:
        if name not in used:
            fix = f"Let an intent have `form: {name}`, or remove it"
            faults.add("warning", f"no intent uses the form '{name}'", fix, **content.place(FORMS, "forms", name))
    if content.desk.forms and (missing := [name for name in STEERING if name not in content.names["intents"]]):
        fix = "Add them with examples: without them a customer cannot confirm, stop or get help while a form is filled"
        what, at = f"no intent {', '.join(missing)}", content.place(INTENTS, "intents")
        faults.add("warning", what, fix, ", ".join(missing), **at, count=len(missing))
    _conversations(content, faults)
    _questions(content, faults)


def _intents(content: Content, faults: Collector) -> None:
    for name, intent in content.desk.intents.items():
        at = content.place(INTENTS, "intents", name)
        ways = [way for way in ("articles", "form", "says", "hands_over") if getattr(intent, way)]
        if not ways:
            faults.add("error", f"nothing answers the intent '{name}'", "Give it articles, form, says or hands_over", **at)
        elif len(ways) > 1:
            faults.add("warning", f"the intent '{name}' has {' and '.join(ways)}", "Give it one way to be answered", **at)
        if not intent.examples:
            faults.add("error", f"the intent '{name}' has no examples", "Give it 10 or more, as customers write", **at)
        if not intent.description.strip():
            fix = "Add a line that completes 'Do you mean: …?'"
            faults.add("warning", f"the intent '{name}' has no description", fix, **at)
        for number, article in enumerate(intent.articles):
            if article not in content.names["articles"]:
                at_one = content.place(INTENTS, "intents", name, "articles", number)
                what = f"the intent '{name}' names the article '{article}', which is not there"
                faults.add("error", what, nearest(article, content.names["articles"]), **at_one)
        if intent.form is not None and intent.form not in content.names["forms"]:
            what = f"the intent '{name}' names the form '{intent.form}', which is not there"
            at = content.place(INTENTS, "intents", name, "form")
            faults.add("error", what, nearest(intent.form, content.names["forms"]), **at)


def _shop(content: Content, faults: Collector) -> None:
    if document := content.documents.get(folder.SHOP):
        if documents.validated(shop_content.Content, content.shop, document, faults) is None:
            return
        try:
            Shop(document.value)
        except UserError as error:
            faults.add("error", str(error), "Give each number once, and each order's e-mail to a customer", where=document.path)


def _articles(content: Content, faults: Collector) -> None:
    """An article is reached by an intent that names it, or that it names itself and that a form or a saying answers."""
    desk = content.desk
    for name, article in desk.articles.items():
        file = f"{ARTICLES}/{name}.md"
        at = content.place(file, "intents")
        answering = desk.answering(name)
        for intent in article.intents:
            if intent not in content.names["intents"]:
                what = f"the article '{name}' names the intent '{intent}', which is not there"
                faults.add("error", what, nearest(intent, content.names["intents"]), **at)
            elif intent in desk.intents and desk.intents[intent].articles and intent not in answering:
                fix = f"Add {name} to the articles of {intent} in {INTENTS}, or remove the intent here"
                faults.add("warning", f"the article '{name}' names the intent '{intent}', which does not name it", fix, **at)
        if not answering and not article.intents:
            fix = "Name it below `articles:` of an intent, or an intent in its front matter"
            faults.add("warning", f"the article '{name}' has no intent", fix, **content.place(file))
        passages = list(article.passages(name))
        if any(not passage.text for passage in passages):
            faults.add("warning", "a section without text", "Write it, or remove its heading", **content.place(file))
        for heading in sorted(article.questions.keys() - {ANY, *(passage.heading for passage in passages)}):
            what = f"the article '{name}' has questions for the section '{heading}', which is not there"
            fix = nearest(heading, [passage.heading for passage in passages])
            faults.add("error", what, fix, **content.place(file, "questions", heading))


def _slots(name: str, form: Form, content: Content, faults: Collector) -> None:
    if not form.slots:
        fix = "Give it slots, or answer the intent with says"
        faults.add("error", f"the form '{name}' asks for nothing", fix, **content.place(FORMS, "forms", name))
    for slot, about in form.slots.items():
        at = content.place(FORMS, "forms", name, "slots", slot)
        if about.type == "choice" and not about.of:
            faults.add("error", f"{name}.{slot} offers no choices", "List them: `of: [a, b]`", **at)
        if about.type != "choice" and (about.of or about.words):
            faults.add("warning", f"{name}.{slot} is no choice, so `of` and `words` have no effect", "Set `type: choice`", **at)
        if about.type == "choice" and (unknown := [choice for choice in about.words if choice not in about.of]):
            what = f"{name}.{slot} has words for {', '.join(unknown)}, which cannot be chosen"
            faults.add("error", what, nearest(unknown[0], about.of), **at)
        if twice := _ambiguous(about):
            fix = "Give each word to one choice"
            faults.add("warning", f"{name}.{slot}: words of more than one choice: {', '.join(twice)}", fix, **at)
        if not about.ask.strip():
            faults.add("error", f"{name}.{slot} has no question", "Write what the customer is asked", **at)


def _ambiguous(slot: Slot) -> list[str]:
    words = Counter(word for of_one in slot.words.values() for word in {word.casefold() for word in of_one})
    return [word for word, count in words.items() if count > 1]


def _actions(content: Content, faults: Collector) -> dict[str, Action]:
    """What can be done here, by name. What a service takes and gives may be told; functions that are named are imported."""
    known = shop_actions() if (content.folder / folder.SHOP).is_file() else {}
    for name, one in content.actions.items():
        takes = frozenset(one.takes) or None if isinstance(one, HttpAction) else None
        if isinstance(one, PythonAction):
            function = imported(name, one)
            if isinstance(function, Finding):
                faults.add("error", function.what, function.fix, **content.place(folder.ACTIONS, "actions", name, "function"))
            else:
                parameters = inspect.signature(function).parameters.values()
                told = all(
                    one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters
                )
                takes = frozenset(one.name for one in parameters) if told else None
        known[name] = Action(takes, frozenset(one.gives) or None)
    return known


def placeholders(sentences: Iterable[str | None]) -> list[str]:
    """Names in braces, once each."""
    return list(dict.fromkeys(name for text in sentences if text for name in PLACEHOLDER.findall(text)))


def _action(name: str, form: Form, known: dict[str, Action], content: Content, faults: Collector) -> None:
    """The action of a form, and what its sentences say of it."""
    action = known.get(form.action)
    if action is None:
        where = f"neither the shop ({folder.SHOP}) nor {folder.ACTIONS} knows"
        at = content.place(FORMS, "forms", name, "action")
        what = f"the form '{name}' ends in the action '{form.action}', which {where}"
        faults.add("error", what, nearest(form.action, known), **at)
    elif absent := sorted((action.takes or set()) - set(form.slots)):
        at = content.place(FORMS, "forms", name, "slots")
        what = f"the action '{form.action}' needs {', '.join(absent)}, which the form '{name}' does not ask for"
        faults.add("error", what, "Add slots of these names", **at)
    gives = action.gives if action else None
    for sentence, also in (("confirm", frozenset[str]()), ("done", gives), ("failed", frozenset[str]())):
        unknown = [one for one in placeholders([getattr(form, sentence)]) if one not in form.slots and one not in (also or ())]
        if unknown and also is not None:
            at = content.place(FORMS, "forms", name, sentence)
            what = f"{name}.{sentence} has {{{unknown[0]}}}, which no slot{' or action' if also else ''} gives"
            faults.add("error", what, nearest(unknown[0], {*form.slots, *also}), **at)
    if action is not None and action.takes is not None:
        used = {*placeholders([form.confirm, form.done, form.failed]), *action.takes}
        for slot in form.slots:
            if slot not in used:
                what = f"{name}.{slot} is asked for but never used: no sentence and not the action has it"
                faults.add("warning", what, "Remove it, or use it", **content.place(FORMS, "forms", name, "slots", slot))


def _conversations(content: Content, faults: Collector) -> None:
    """Scripts of the tester: what they name must be there, or no run can fulfil them."""
    desk, slots = content.desk, {slot for form in content.desk.forms.values() for slot in form.slots}
    known = {
        "answers": content.names["articles"],
        "asks": slots,
        "confirms": content.names["forms"],
        "cancels": content.names["forms"],
        "says": content.names["intents"],
        "clarifies": content.names["intents"],
        "does": {form.action for form in desk.forms.values()},
        "fails": {form.action for form in desk.forms.values()},
    }
    names = Counter(one.name for one in content.scripts)
    for number, one in enumerate(content.scripts):
        if names[one.name] > 1:
            at = content.place(CONVERSATIONS, "conversations", number)
            faults.add("warning", f"more than one conversation is called '{one.name}'", "Name each differently", **at)
        for turn, expected in enumerate(one.turns):
            at = content.place(CONVERSATIONS, "conversations", number, "turns", turn)
            for key, value in expected.expect.items():
                for named in value if isinstance(value, list) else [value]:
                    if key in known and named not in known[key]:
                        what = f"'{one.name}' expects {key}: {named}, which is not there"
                        faults.add("error", what, nearest(str(named), known[key]), **at)


def _questions(content: Content, faults: Collector) -> None:
    """What the search in the articles is judged by: the articles are there, and nothing of it is taught."""
    desk = content.desk
    asked = [question.text for name, article in desk.articles.items() for question in article.asked(name)]
    examples = [text for intent in desk.intents.values() for text in intent.examples]
    taught = {normalised(text) for text in (*examples, *asked, *desk.out_of_scope, *desk.unanswered)}
    fix = "Remove it from the examples, or from the articles' questions: else the search is judged on what it was told"
    given = content.questions
    for steps, kinds in (((), given), (("tuning",), given.tuning)):
        for kind in ("answerable", "unanswerable"):
            for number, one in enumerate(getattr(kinds, kind)):
                text, articles = (one, ()) if isinstance(one, str) else (one.question, one.articles)
                at = content.place(QUESTIONS, *steps, kind, number)
                if normalised(text) in taught:
                    faults.add("warning", "a question to judge by that is also taught", fix, **at)
                for article in (name for name in articles if name not in content.names["articles"]):
                    what = f"a question is to be answered by the article '{article}', which is not there"
                    faults.add("error", what, nearest(article, content.names["articles"]), **at)
