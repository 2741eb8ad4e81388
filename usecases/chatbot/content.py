"""What a support team writes: intents, forms and articles, as YAML and Markdown in one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator

from shared.config import Section

SlotType = Literal[
    "order_number", "return_number", "gift_card", "email", "date", "amount", "postcode", "text", "choice", "yes_no"
]  # fmt: skip

Coded = Literal["order_number", "return_number", "gift_card"]
PATTERNS: dict[Coded, str] = {
    "order_number": r"(FW)[-\s_:#.]{0,3}([0-9]{6})",
    "return_number": r"(R)[-\s_:#.]{0,3}([0-9]{5})",
    "gift_card": r"(GC)[-\s_:#.]{0,3}([A-Z0-9]{4})[-\s_.]{0,3}([A-Z0-9]{4})",
}
"""How the demonstration shop writes its numbers."""
ANY = "*"  # heading of questions that some section of their article answers


class Intent(Section):
    """What customers want, and the one way in which it is answered."""

    description: str = Field("", description="one line that completes 'Do you mean: …?'")
    examples: tuple[str, ...] = Field((), description="utterances of customers")
    articles: tuple[str, ...] = Field((), description="articles that answer it, by file name without its ending")
    form: str | None = Field(None, description="form that is filled for it")
    says: tuple[str, ...] = Field((), description="replies, one of which is given")
    hands_over: bool = Field(False, description="a human takes over")


class Slot(Section):
    """One thing that a form has to know."""

    type: SlotType
    ask: str = Field(description="the question to the customer")
    of: tuple[str, ...] = Field((), description="names of what can be chosen (type choice)")
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="what customers call each choice")


class Form(Section):
    """Slots, asked for in their order, then an action."""

    slots: dict[str, Slot]
    confirm: str | None = Field(None, description="sentence with {slot} that must be affirmed before the action; null: none")
    action: str = Field(description="name of the action")
    done: str = Field(description="sentence with {slot} and {what the action gives}")
    failed: str = Field(description="sentence for when the action finds nothing")


class Passage(NamedTuple):
    """A part of an article that can be quoted by itself."""

    article: str
    title: str
    heading: str  # "" before the first one
    text: str


class Question(NamedTuple):
    """A customer's question and the articles each of which answers it; none: nothing in the library does.

    Attributes:
        tuning: whether it is kept to tune the search by, and never to judge it.
        heading: of the section that answers it; `ANY`: it is not known which.
    """

    text: str
    articles: tuple[str, ...] = ()
    tuning: bool = False
    heading: str = ANY


class Article(Section):
    """A help article in Markdown; each `##` section is a passage."""

    title: str
    intents: tuple[str, ...] = ()
    questions: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="what customers ask that it answers, which teaches the search: a list, or one for each section that answers, "
        "by its heading ('' before the first)",
    )
    updated: str = ""
    body: str

    @field_validator("questions", mode="before")
    @classmethod
    def _of_any(cls, questions: Any) -> Any:
        return {ANY: questions} if isinstance(questions, list | tuple) else questions

    def asked(self, name: str) -> list[Question]:
        """Its questions; `name`: its own."""
        return [Question(text, (name,), heading=heading) for heading, texts in self.questions.items() for text in texts]

    def passages(self, name: str) -> Iterator[Passage]:
        head, *sections = re.split(r"(?m)^## +", self.body)
        if head.strip():
            yield Passage(name, self.title, "", head.strip())
        for section in sections:
            heading, _, text = section.partition("\n")
            yield Passage(name, self.title, heading.strip(), text.strip())


class Patterns(Section):
    """How numbers are written here."""

    patterns: dict[Coded, str] = Field(
        PATTERNS,
        description="regular expression of each kind of number; its groups, joined by '-' in capitals, are the number's form",
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: dict[Coded, str]) -> dict[Coded, str]:
        for kind, pattern in patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{kind}: '{pattern}' is no regular expression ({error})") from None
        return PATTERNS | patterns


class Desk(Patterns):
    """Everything that a support team has written. `shop` fills the embedded demonstration shop, `actions` are HTTP calls."""

    intents: dict[str, Intent]
    forms: dict[str, Form] = Field(default_factory=dict)
    articles: dict[str, Article] = Field(default_factory=dict)
    out_of_scope: tuple[str, ...] = Field((), description="messages that nothing here answers")
    unanswered: tuple[str, ...] = Field((), description="questions about the company that no article answers")

    def passages(self) -> list[Passage]:
        return [passage for name, article in self.articles.items() for passage in article.passages(name)]

    def about(self, article: str) -> set[str]:
        """The intents that an article speaks of, or answers."""
        own = self.articles[article].intents if article in self.articles else ()
        return {*own, *self.answering(article)}

    def answering(self, article: str) -> list[str]:
        """The intents that an article answers."""
        return [name for name, intent in self.intents.items() if article in intent.articles]
