"""What fills the demonstration shop: `shop.yaml`."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from shared.config import Section
from shared.errors import nearest
from usecases.chatbot.dates import DAYS

_SHORT = [name[:3] for name in DAYS]
Status = Literal["placed", "packed", "sent", "delivered", "cancelled"]
Stage = Literal["registered", "on_the_way", "arrived", "checked", "refunded"]
VALUES = {
    **dict.fromkeys(get_args(Status), ("status", "carrier", "tracking", "ordered", "sent", "delivered")),
    **dict.fromkeys(get_args(Stage), ("since",)),
    **dict.fromkeys(("refund", "invoice_refund"), ("amount",)),
}
"""What fills the placeholders of each of the shop's sentences."""
Days = Annotated[str, Field(pattern=rf"^({'|'.join(_SHORT)})(-({'|'.join(_SHORT)}))?$")]
Hours = Annotated[str, Field(pattern="^[0-9]{1,2}:[0-9]{2}-[0-9]{1,2}:[0-9]{2}$")]


class Branch(Section):
    address: str
    hours: dict[Days, Hours] = Field(description="{mon-fri: '10:00-19:00', sat: …}; a day that is not named is closed")
    closed: tuple[str, ...] = Field((), description="weekdays, or days as 2026-12-25")


class Customer(Section):
    name: str
    email: str
    street: str
    postcode: str
    city: str
    country: str


class Item(Section):
    name: str
    price: float = Field(ge=0, description="euros")


class Delivery(Section):
    kind: str
    cost: float = Field(ge=0, description="euros")


class Return(Section):
    number: str
    items: tuple[str, ...]
    reason: str
    stage: Stage
    since: datetime.date


class Order(Section):
    number: str
    email: str
    date: datetime.date
    items: tuple[Item, ...]
    delivery: Delivery
    payment: str
    status: Status
    sent: datetime.date | None = None
    delivered: datetime.date | None = None
    carrier: str | None = None
    tracking: str | None = None
    returns: tuple[Return, ...] = ()

    @model_validator(mode="after")
    def _delivered_on_a_day(self) -> Self:
        if (self.status == "delivered") != (self.delivered is not None):
            raise ValueError("an order has a day of delivery if it is delivered, and only then")
        return self


class GiftCard(Section):
    number: str
    balance: float = Field(ge=0, description="euros")
    valid_until: datetime.date


class Content(Section):
    """`shop.yaml`."""

    today: datetime.date | None = Field(None, description="the day on which the shop stands still; null: the clock's")
    return_days: int = Field(ge=0, description="after delivery")
    label_days: int = Field(ge=0, description="for which a return label is valid")
    texts: dict[str, str] = Field(
        default_factory=dict, description="a sentence for each status and stage, with {sent}, {since}, …"
    )
    shops: dict[str, Branch] = Field(default_factory=dict)
    customers: tuple[Customer, ...] = ()
    orders: tuple[Order, ...] = ()
    gift_cards: tuple[GiftCard, ...] = ()

    @field_validator("texts")
    @classmethod
    def _no_other_placeholders(cls, texts: dict[str, str]) -> dict[str, str]:
        for about, text in texts.items():
            if about not in VALUES:
                raise ValueError(f"nothing says '{about}'. {nearest(about, VALUES)}")
            try:
                text.format(**dict.fromkeys(VALUES[about], ""))
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise ValueError(f"{about}: '{text}' has a placeholder that nothing fills ({error})") from None
        return texts


def euros(cents: int) -> str:
    return f"{cents / 100:,.2f} euros"


def spoken(day: datetime.date | str | None) -> str:
    """ "19 June 2026"; "" for none."""
    day = datetime.date.fromisoformat(day) if isinstance(day, str) else day
    return f"{day.day} {day:%B %Y}" if day else ""


def opening_hours(branch: Branch, day: datetime.date) -> tuple[int, int] | None:
    """From and to, in minutes of the day; None: closed."""
    if {DAYS[day.weekday()], day.isoformat()} & set(branch.closed):
        return None
    for days, hours in branch.hours.items():
        first, _, last = days.partition("-")
        if _SHORT.index(first) <= day.weekday() <= _SHORT.index(last or first):
            start, end = (int(hour) * 60 + int(minute) for hour, minute in re.findall(r"([0-9]+):([0-9]+)", hours))
            return start, end
    return None
