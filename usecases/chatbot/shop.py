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
from pathlib import Path
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
CREATE TABLE shop (content TEXT NOT NULL) STRICT;
CREATE TABLE orders (
    number TEXT PRIMARY KEY, email TEXT NOT NULL COLLATE NOCASE, ordered TEXT NOT NULL, status TEXT NOT NULL,
    cents INTEGER NOT NULL, payment TEXT NOT NULL, sent TEXT, delivered TEXT, carrier TEXT, tracking TEXT,
    street TEXT NOT NULL, postcode TEXT NOT NULL, city TEXT NOT NULL, country TEXT NOT NULL
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
    """The shop in one SQLite file, or in memory. Several threads may use it and, in a file, several processes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use `create` or `open`."""
        self._db = db
        self._lock = threading.Lock()
        self._content = Content.model_validate_json(db.execute("SELECT content FROM shop").fetchone()["content"])

    @classmethod
    def create(cls, path: Path | str, content: Mapping[str, Any]) -> Shop:
        """Fill a new shop.

        Args:
            path: of the file, or ":memory:".
            content: `shop.yaml` as read.

        Raises:
            UserError: lists everything that is wrong in the content; or the file exists.
        """
        try:
            read = Content.model_validate(content)
        except ValidationError as error:
            faults = (f"  - {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise UserError("The shop's content has these problems:\n" + "\n".join(faults)) from None
        if Path(path).exists():
            raise UserError(f"{path} exists already. Open it, or remove it for a new shop.")
        db = _connect(path)
        try:
            db.executescript(f"BEGIN; {_SCHEMA}")
            _insert(db, read)
            db.execute("COMMIT")
        except (sqlite3.IntegrityError, KeyError) as error:
            db.close()
            Path(path).unlink(missing_ok=True)
            raise UserError(f"The shop's content does not fit together: {error}.") from None
        return cls(db)

    @classmethod
    def open(cls, path: Path) -> Shop:
        """Go on with one that was created before.

        Raises:
            UserError: there is none.
        """
        if not path.is_file():
            raise UserError(f"There is no shop {path}. Create it first.")
        return cls(_connect(path))

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
        """Gives return_number and label_days. An item whose return is registered already keeps its number."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if order["status"] != "delivered" or self._since(order) > self._content.return_days:
                return Outcome(False, {}, "the order is not delivered, or its return period is over")
            given = db.execute("SELECT number FROM returns WHERE order_number = ? AND item = ?", (order_number, item)).fetchone()
            number = given["number"] if given else _next(db, "R-", "returns")
            if not given:
                row = (number, order_number, item, reason, "registered", self.today.isoformat())
                db.execute("INSERT INTO returns VALUES (?, ?, ?, ?, ?, ?)", row)
        return Outcome(True, {"return_number": number, "label_days": self._content.label_days})

    def create_refund_request(
        self, order_number: str, email: str, amount: Annotated[float, Field(gt=0)], refund_reason: str
    ) -> Outcome:
        """Gives request_number. `amount` in euros, at most what the order cost."""
        with self._transaction() as db:
            order = self._order(db, order_number, email)
            if order is None:
                return NOT_FOUND
            if round(amount * 100) > order["cents"]:
                return Outcome(False, {}, "the amount is larger than that of the order")
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


def _connect(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _next(db: sqlite3.Connection, prefix: str, table: Literal["returns", "requests"]) -> str:
    query = f"SELECT max(CAST(substr(number, ?) AS INTEGER)) AS last FROM {table} WHERE number GLOB ?"
    last = db.execute(query, (len(prefix) + 1, f"{prefix}*")).fetchone()["last"]
    return f"{prefix}{(last or 10_000) + 1}"


def _insert(db: sqlite3.Connection, content: Content) -> None:
    """Raises:
    sqlite3.IntegrityError: a number comes twice.
    KeyError: an order's customer is missing.
    """
    settings = content.model_copy(update={"customers": (), "orders": (), "gift_cards": ()})
    db.execute("INSERT INTO shop VALUES (?)", (settings.model_dump_json(),))
    customers = {customer.email: customer for customer in content.customers}
    for order in content.orders:
        home = customers[order.email]
        cents = round(100 * (sum(item.price for item in order.items) + order.delivery.cost))
        days = [day.isoformat() if day else None for day in (order.date, order.sent, order.delivered)]
        row = (order.number, order.email, days[0], order.status, cents, order.payment, *days[1:], order.carrier, order.tracking)
        db.execute(
            f"INSERT INTO orders VALUES ({', '.join('?' * 14)})", (*row, home.street, home.postcode, home.city, home.country)
        )
        for back in order.returns:
            told = (back.number, order.number, ", ".join(back.items), back.reason, back.stage, back.since.isoformat())
            db.execute("INSERT INTO returns VALUES (?, ?, ?, ?, ?, ?)", told)
    for card in content.gift_cards:
        db.execute(
            "INSERT INTO gift_cards VALUES (?, ?, ?)", (card.number, round(100 * card.balance), card.valid_until.isoformat())
        )
