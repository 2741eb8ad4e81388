"""The demonstration shop: customers, orders, returns and gift cards in SQLite, and what the assistant can do with them.

What belongs to somebody else is not told from what does not exist: the outcome is the same.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from shared.errors import UserError
from usecases.chatbot.protocols import Outcome
from usecases.chatbot.shop_content import Content, euros, opening_hours, spoken
from usecases.chatbot.transactions import transaction

FITTING_MINUTES = 45
FITTINGS_AHEAD = 30
"""Days from today, at most."""
DAMAGE_DAYS = 14
"""Days after delivery in which damage is reported."""
ALL = {"all", "both", "ever", "whol", "orde", "item", "arti", "one", "it", "them", "this", "that"}
"""Beginnings of words that mean whatever is in the order."""
DAYTIMES = {"morning": (0, 13 * 60), "afternoon": (13 * 60, 17 * 60), "evening": (17 * 60, 19 * 60)}
"""From and to, in minutes of the day."""
POSTCODES = {
    "Germany": "(DE?-)?[0-9]{5}",
    "Italy": "(IT?-)?[0-9]{5}",
    "France": "(FR?-)?[0-9]{5}",
    "Austria": "(AT?-)?[0-9]{4}",
    "Switzerland": "(CH-)?[0-9]{4}",
    "Denmark": "(DK-)?[0-9]{4}",
    "Poland": "[0-9]{2}-[0-9]{3}",
}
"""An address is changed within its country alone; a country that is not listed here takes any."""

_SCHEMA = """
CREATE TABLE orders (
    number TEXT PRIMARY KEY, email TEXT NOT NULL COLLATE NOCASE, ordered TEXT NOT NULL, status TEXT NOT NULL,
    cents INTEGER NOT NULL, payment TEXT NOT NULL, sent TEXT, delivered TEXT, carrier TEXT, tracking TEXT,
    street TEXT NOT NULL, postcode TEXT NOT NULL, city TEXT NOT NULL, country TEXT NOT NULL, items TEXT NOT NULL
) STRICT;
CREATE TABLE returns (
    number TEXT PRIMARY KEY, order_number TEXT NOT NULL REFERENCES orders, item TEXT NOT NULL COLLATE NOCASE,
    reason TEXT NOT NULL, stage TEXT NOT NULL, since TEXT NOT NULL
) STRICT;
CREATE TABLE gift_cards (number TEXT PRIMARY KEY, cents INTEGER NOT NULL, valid_until TEXT NOT NULL) STRICT;
CREATE TABLE requests (
    number TEXT PRIMARY KEY, order_number TEXT NOT NULL REFERENCES orders, about TEXT NOT NULL, details TEXT NOT NULL
) STRICT;
CREATE TABLE fittings (
    shop TEXT NOT NULL, day TEXT NOT NULL, minute INTEGER NOT NULL, email TEXT NOT NULL, PRIMARY KEY (shop, day, minute)
) STRICT;
"""


NOT_FOUND = Outcome(False, {}, "there is none with this number for this e-mail address")
"""For what does not exist and for what is somebody else's."""


class Shop:
    """The shop in memory, gone with the process. Several threads may use it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Fill a new shop.

        Args:
            content: `shop.yaml` as read.

        Raises:
            UserError: lists everything that is wrong in the content.
        """
        try:
            self._content = Content.model_validate(content)
        except ValidationError as error:
            faults = (f"  - {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise UserError("The shop's content has these problems:\n" + "\n".join(faults)) from None
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)
        try:
            _insert(self._db, self._content)
        except sqlite3.IntegrityError as error:
            raise UserError(f"The shop's content does not fit together: {error}.") from None
        except KeyError as error:
            raise UserError(
                f"The shop's content does not fit together: no customer has the e-mail {error} of an order."
            ) from None

    @property
    def functions(self) -> dict[str, Callable[..., Outcome]]:
        """What forms may name as their action."""
        actions: tuple[Callable[..., Outcome], ...] = (
            self.look_up_order,
            self.create_return,
            self.create_refund_request,
            self.change_delivery_address,
            self.cancel_order,
            self.book_fitting,
            self.create_damage_report,
            self.look_up_return,
            self.look_up_gift_card,
        )
        return {action.__name__: action for action in actions}

    @property
    def today(self) -> date:
        return self._content.today or date.today()

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._db, self._lock)

    def _order(self, db: sqlite3.Connection, number: str, email: str) -> sqlite3.Row | None:
        found: sqlite3.Row | None = db.execute("SELECT * FROM orders WHERE number = ? AND email = ?", (number, email)).fetchone()
        return found

    def _text(self, about: str, **values: Any) -> str:
        return self._content.texts.get(about, "").format(**values)

    def look_up_order(self, order_number: str, email: str) -> Outcome:
        """Gives status, status_text, carrier and tracking ("" before it is sent)."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
        if order is None:
            return NOT_FOUND
        values = {key: order[key] or "" for key in ("status", "carrier", "tracking")}
        days = {day: spoken(order[day]) for day in ("ordered", "sent", "delivered")}
        return Outcome(True, values | {"status_text": self._text(order["status"], **values, **days)})

    def create_return(self, order_number: str, email: str, item: str, reason: str) -> Outcome:
        """Gives return_number and label_days. An item whose return is registered already keeps its number.

        `item` in the customer's words, of which one must be in the name of an item of the order, or mean all of them.
        """
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if order["status"] != "delivered" or self._since(order) > self._content.return_days:
                return Outcome(False, {}, "the order is not delivered, or its return period is over")
            if not _roots(item) & (_roots(order["items"]) | ALL):
                return Outcome(False, {}, "the order has no such item")
            given = db.execute("SELECT number FROM returns WHERE order_number = ? AND item = ?", (order_number, item)).fetchone()
            number = given["number"] if given else _next(db, "R-", "returns")
            if not given:
                row = (number, order_number, item, reason, "registered", self.today.isoformat())
                db.execute("INSERT INTO returns VALUES (?, ?, ?, ?, ?, ?)", row)
        return Outcome(True, {"return_number": number, "label_days": self._content.label_days})

    def create_refund_request(
        self, order_number: str, email: str, amount: Annotated[float, Field(gt=0)], refund_reason: str
    ) -> Outcome:
        """Gives request_number. `amount` in euros, with what was requested before at most what the order cost."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            query = "SELECT details FROM requests WHERE order_number = ? AND about = 'refund'"
            before = sum(json.loads(row["details"])["amount"] for row in db.execute(query, (order_number,)))
            if round((before + amount) * 100) > order["cents"]:
                return Outcome(False, {}, "the amount, with what was requested before, is larger than that of the order")
            number = self._request(db, order_number, "refund", {"amount": amount, "reason": refund_reason})
        return Outcome(True, {"request_number": number})

    def change_delivery_address(self, order_number: str, email: str, street: str, postcode: str, city: str) -> Outcome:
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if order["status"] != "placed":
                return Outcome(False, {}, "the order is no longer 'placed'")
            if not re.fullmatch(POSTCODES.get(order["country"], ".*"), postcode, re.IGNORECASE):
                return Outcome(False, {}, "the postcode is none of the order's country")
            row = (street, postcode, city, order_number)
            db.execute("UPDATE orders SET street = ?, postcode = ?, city = ? WHERE number = ?", row)
        return Outcome(True, {})

    def cancel_order(self, order_number: str, email: str) -> Outcome:
        """Gives refund_text."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if order["status"] != "placed":
                return Outcome(False, {}, "the order is no longer 'placed'")
            db.execute("UPDATE orders SET status = 'cancelled' WHERE number = ?", (order_number,))
        paid = "invoice_refund" if order["payment"] == "invoice" else "refund"
        return Outcome(True, {"refund_text": self._text(paid, amount=euros(order["cents"]))})

    def book_fitting(self, shop: str, date: date, daytime: Literal["morning", "afternoon", "evening"], email: str) -> Outcome:
        """Gives time ("10:00") and shop_address: the first that is free."""
        branch = self._content.shops.get(shop)
        opening = opening_hours(branch, date) if branch else None
        if branch is None or opening is None or not 1 <= (date - self.today).days <= FITTINGS_AHEAD:
            return Outcome(False, {}, "the shop is closed on that day, or the day is not within the next 30 days")
        start, end = (max(opening[0], DAYTIMES[daytime][0]), min(opening[1], DAYTIMES[daytime][1]))
        with self._transaction() as db:
            taken = {
                row["minute"] for row in db.execute("SELECT minute FROM fittings WHERE shop = ? AND day = ?", (shop, str(date)))
            }
            free = [m for m in range(start, end - FITTING_MINUTES + 1, FITTING_MINUTES) if m not in taken]
            if not free:
                return Outcome(False, {}, "there is nothing free at that time of that day")
            db.execute("INSERT INTO fittings VALUES (?, ?, ?, ?)", (shop, str(date), free[0], email))
        return Outcome(True, {"time": f"{free[0] // 60:02}:{free[0] % 60:02}", "shop_address": branch.address})

    def create_damage_report(
        self, order_number: str, email: str, item: str, description: str, solution: Literal["replacement", "refund"]
    ) -> Outcome:
        """Gives report_number."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if order["status"] != "delivered" or self._since(order) > DAMAGE_DAYS:
                return Outcome(False, {}, f"the order is not delivered, or was delivered more than {DAMAGE_DAYS} days ago")
            told = {"item": item, "description": description, "solution": solution}
            number = self._request(db, order_number, "damage", told)
        return Outcome(True, {"report_number": number})

    def look_up_return(self, return_number: str, email: str) -> Outcome:
        """Gives stage and stage_text."""
        with self._transaction() as db:
            query = "SELECT r.* FROM returns r JOIN orders o ON o.number = r.order_number WHERE r.number = ? AND o.email = ?"
            found = db.execute(query, (return_number, email)).fetchone()
        if found is None:
            return NOT_FOUND
        text = self._text(found["stage"], since=spoken(found["since"]))
        return Outcome(True, {"stage": found["stage"].replace("_", " "), "stage_text": text})

    def look_up_gift_card(self, gift_card: str) -> Outcome:
        """Gives balance and valid_until, in words."""
        with self._transaction() as db:
            card = db.execute("SELECT * FROM gift_cards WHERE number = ?", (gift_card,)).fetchone()
        if card is None:
            return Outcome(False, {}, "there is no such gift card")
        return Outcome(True, {"balance": euros(card["cents"]), "valid_until": spoken(card["valid_until"])})

    def _since(self, order: sqlite3.Row) -> int:
        """Days since delivery."""
        return (self.today - date.fromisoformat(order["delivered"])).days

    def _request(self, db: sqlite3.Connection, order_number: str, about: str, details: dict[str, Any]) -> str:
        number = _next(db, {"refund": "RF-", "damage": "D-"}[about], "requests")
        db.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", (number, order_number, about, json.dumps(details)))
        return number


def _roots(text: str) -> set[str]:
    """The first four letters of each word: jacket, jackets, Jacke."""
    return {word[:4] for word in re.findall(r"\w+", text.casefold())}


def _next(db: sqlite3.Connection, prefix: str, table: Literal["returns", "requests"]) -> str:
    query = f"SELECT max(CAST(substr(number, ?) AS INTEGER)) AS last FROM {table} WHERE number GLOB ?"
    last = db.execute(query, (len(prefix) + 1, f"{prefix}*")).fetchone()["last"]
    return f"{prefix}{(last or 10_000) + 1}"


def _insert(db: sqlite3.Connection, content: Content) -> None:
    """Raises:
    sqlite3.IntegrityError: a number comes twice.
    KeyError: an order's customer is missing.
    """
    customers = {customer.email: customer for customer in content.customers}
    for order in content.orders:
        home = customers[order.email]
        cents = round(100 * (sum(item.price for item in order.items) + order.delivery.cost))
        days = [day.isoformat() if day else None for day in (order.date, order.sent, order.delivered)]
        row = (order.number, order.email, days[0], order.status, cents, order.payment, *days[1:], order.carrier, order.tracking)
        names = "\n".join(item.name for item in order.items)
        row = (*row, home.street, home.postcode, home.city, home.country, names)
        db.execute(f"INSERT INTO orders VALUES ({', '.join('?' * len(row))})", row)
        for back in order.returns:
            told = (back.number, order.number, ", ".join(back.items), back.reason, back.stage, back.since.isoformat())
            db.execute("INSERT INTO returns VALUES (?, ?, ?, ?, ?, ?)", told)
    for card in content.gift_cards:
        db.execute(
            "INSERT INTO gift_cards VALUES (?, ?, ?)", (card.number, round(100 * card.balance), card.valid_until.isoformat())
        )
