"""Simulated card transactions with fraud whose labels are exact: the default data. They are not real.

The design is section 3.2 of Le Borgne, Siblini, Lebichot & Bontempi, "Reproducible Machine Learning for Credit Card Fraud
Detection: Practical Handbook" (2022): customers and terminals have places, customers pay near home at rates and with amounts of
their own, fraud comes in scenarios. The code is new. Added are travel, new devices, shopping sprees and large purchases of
honest customers, so that no such sign alone is fraud; three more scenarios; and drift, so that the past is not quite the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

DAY, HOUR = 86_400, 3_600  # seconds
WEEK = np.array([0.9, 0.9, 0.95, 1.0, 1.2, 1.3, 0.75])  # activity from Monday to Sunday, 1 on average
INFLATION = 0.08  # a year
COUNTRIES = ("DE", "FR", "NL", "BE", "AT", "CH", "PL", "IT")
BORDERS = np.array([40, 60, 70, 77, 83, 88, 94])  # each country is a strip of the map between two values of x
DEVICES = 3  # that a customer owns: card, phone, laptop


@dataclass(frozen=True)
class Scenario:
    """A kind of fraud: about what share of all transactions, and how many times as many attacks at the record's end."""

    share: float
    growth: float


SCENARIOS = {
    "large amount": Scenario(0.0010, 0.5),
    "compromised terminal": Scenario(0.0022, 1.6),
    "stolen card": Scenario(0.0020, 0.6),
    "card testing": Scenario(0.0018, 6.0),
    "account takeover": Scenario(0.0014, 2.0),
    "collusive terminal": Scenario(0.0010, 1.5),
}
NAMES = ("", *SCENARIOS)


@dataclass(frozen=True)
class World:
    """Who pays, how, and where. C customers, M counterparties; the first of them are local terminals, then chains, then shops.

    Attributes:
        days: length of the record.
        weekday: of its first day, 0 is Monday.
        rate: [C] transactions a day.
        mean: [C] amount that is usual.
        spread: [C] standard deviation of the logarithm of the amounts.
        hour: [C] of the day around which a customer pays.
        online: [C] share of payments that are made online.
        wallet: [C] share of payments at terminals made by phone, and of those online not made by laptop.
        replaced: [C, DEVICES] day on which a device is replaced, often after the record.
        host: [C, days] the customer near whose home one is: oneself, but another one while travelling.
        near: [C, k] local terminals, the nearest first.
        country: [C] index of the country one lives in.
        terminal_country: [local] index of the country of a local terminal.
        level: [M] prices, 1 is usual.
    """

    days: int
    weekday: int
    rate: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    hour: np.ndarray
    online: np.ndarray
    wallet: np.ndarray
    replaced: np.ndarray
    host: np.ndarray
    near: np.ndarray
    country: np.ndarray
    terminal_country: np.ndarray
    level: np.ndarray

    @property
    def local(self) -> int:
        return len(self.terminal_country)

    @property
    def chains(self) -> int:
        """Merchants with terminals everywhere; the remaining counterparties are online."""
        return max(3, len(self.level) // 200)


def simulate(customers: int, terminals: int, days: int, seed: int, first_day: date = date(2025, 1, 1)) -> pd.DataFrame:
    """Transactions in the order of time, about two per customer and day, some 0.9 % of them fraud.

    Args:
        customers: with an account each; if there are fewer than a few hundred, a scenario may be missing by chance.
        terminals: counterparties: local terminals, a few chains, and one in ten an online shop; at least 20.
        days: length of the record. Drift is relative to it: a longer record changes as much, more slowly.
        seed: the same seed gives the same frame.
        first_day: starts at midnight.

    Returns:
        transaction: id, 'T0000000' is the first; time: datetime64[s];
        account, counterparty: ids such as 'C00042' and 'M00017';
        amount: in whole cents;
        device: id of the card, phone or computer; never shared by two accounts;
        country: where the payer is, or appears to be; channel: 'terminal' or 'online';
        label: int8, 1 is fraud;
        scenario: one of SCENARIOS, '' for legitimate transactions.
    """
    rng = np.random.default_rng(seed)
    world = _world(rng, customers, terminals, days, first_day.weekday())
    ordinary = _ordinary(rng, world)
    rows = pd.concat(
        [
            _compromised_terminals(rng, world, ordinary),
            _large_amounts(rng, world, len(ordinary)),
            _stolen_cards(rng, world, len(ordinary)),
            _card_testing(rng, world, len(ordinary)),
            _account_takeovers(rng, world, len(ordinary)),
            _collusive_terminals(rng, world, ordinary),
        ]
    )
    rows = rows[rows["second"] < days * DAY].sort_values("second", kind="stable")
    return _table(rng, rows, terminals, first_day)


def _world(rng: np.random.Generator, customers: int, terminals: int, days: int, weekday: int) -> World:
    shops, chains = max(5, terminals // 10), max(3, terminals // 200)
    home, place = rng.uniform(0, 100, (customers, 2)), rng.uniform(0, 100, (terminals - shops - chains, 2))
    # As many as lie within a radius of 5 on average, which is the Handbook's rule; everybody has some, however few there are.
    k = min(len(place), max(5, round(len(place) * np.pi * 5**2 / 100**2)))
    return World(
        days=days,
        weekday=weekday,
        rate=rng.uniform(0, 4, customers),
        mean=rng.uniform(5, 100, customers),
        spread=rng.uniform(0.4, 0.9, customers),
        hour=rng.normal(14, 2, customers),
        online=rng.beta(2, 4, customers),
        wallet=rng.beta(1, 2, customers),
        replaced=rng.uniform(0, (1200, 700, 1200), (customers, DEVICES)),
        host=_hosts(rng, customers, days),
        near=cKDTree(place).query(home, k)[1],
        country=np.searchsorted(BORDERS, home[:, 0]),
        terminal_country=np.searchsorted(BORDERS, place[:, 0]),
        level=rng.lognormal(0, 0.35, terminals),
    )


def _hosts(rng: np.random.Generator, customers: int, days: int) -> np.ndarray:
    """[customers, days] near whose home each is: a trip of 3 to 14 days every 100 days, the rest at home."""
    host = np.tile(np.arange(customers)[:, None], days)
    trips = round(customers * days / 100)
    who, there, start = rng.integers(0, (customers, customers, days), (trips, 3)).T
    trip, day = _runs(start, rng.integers(3, 15, trips), days)
    host[who[trip], day] = there[trip]
    return host


def _runs(start: np.ndarray, length: np.ndarray, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Every day of periods that start on some day: index of the period, and day; days outside the record are left out."""
    period = np.repeat(np.arange(len(start)), length)
    day = start[period] + np.arange(len(period)) - np.repeat(np.cumsum(length) - length, length)
    inside = (day >= 0) & (day < days)
    return period[inside], day[inside]


def _purchases(
    rng: np.random.Generator, world: World, customer: np.ndarray, second: np.ndarray, online: np.ndarray, host: np.ndarray
) -> pd.DataFrame:
    """What customers would pay at these times; fraud starts from it and changes what gives it away.

    Args:
        customer: [n] who pays.
        second: [n] since the start of the record.
        online: [n] true for the payments that are made online.
        host: [n] near whose home one is.

    Returns:
        [n] rows of indices: customer, second, online, merchant, country, device, scenario (0), and the amount, not rounded.
    """
    n, chance = len(customer), rng.random((4, len(customer)))
    first_shop = world.local + world.chains
    near = world.near[host, (world.near.shape[1] * chance[0] ** 2).astype(int)]  # the nearer, the more often
    chain = world.local + (world.chains * chance[0]).astype(int)
    shop = first_shop + ((len(world.level) - first_shop) * chance[0] ** 3).astype(int)  # a few have most of the trade
    merchant = np.where(online, shop, np.where(chance[1] < 0.15, chain, near))
    abroad = online & (chance[2] < 0.006)  # an address elsewhere: a VPN, or a phone network's
    country = np.where(abroad, rng.integers(0, len(COUNTRIES), n), world.country[host])
    local = merchant < world.local
    country[local] = world.terminal_country[merchant[local]]
    years = second / (365 * DAY)
    noise = world.spread[customer] * rng.standard_normal(n) - world.spread[customer] ** 2 / 2
    return pd.DataFrame(
        {
            "customer": customer,
            "second": second,
            "online": online,
            "merchant": merchant,
            "country": country,
            "device": _devices(rng, world, customer, second, online),
            "amount": world.mean[customer] * world.level[merchant] * np.exp(noise) * (1 + INFLATION) ** years,
            "scenario": 0,
        }
    )


def _devices(rng: np.random.Generator, world: World, customer: np.ndarray, second: np.ndarray, online: np.ndarray) -> np.ndarray:
    """[n] codes of devices: of a customer's own, replaced at times, or once in a while somebody else's computer."""
    phone = rng.random(len(customer)) < world.wallet[customer]
    own = _own_devices(world, customer, second, np.where(phone, 1, np.where(online, 2, 0)))
    guest = online & (rng.random(len(customer)) < 0.003)
    return np.where(guest, _new_devices(rng, world, customer), own)


def _own_devices(world: World, customer: np.ndarray, second: np.ndarray, kind: np.ndarray | int) -> np.ndarray:
    """[n] codes of the cards (kind 0), phones (1) or laptops (2) that these customers have at the time."""
    renewed = second >= world.replaced[customer, kind] * DAY
    return customer + len(world.rate) * (2 * kind + renewed)


def _new_devices(rng: np.random.Generator, world: World, customer: np.ndarray) -> np.ndarray:
    """[n] codes of devices that these customers never had; drawn from so many that none comes twice."""
    return customer + len(world.rate) * rng.integers(2 * DEVICES, 2**40, len(customer))


def _clock(rng: np.random.Generator, world: World, customer: np.ndarray, online: np.ndarray) -> np.ndarray:
    """[n] seconds since midnight at which these customers pay; online later in the day."""
    hour = rng.normal(world.hour[customer] + 3 * online, 4)
    return (hour * HOUR).astype(np.int64) % DAY


def _ordinary(rng: np.random.Generator, world: World) -> pd.DataFrame:
    """What honest customers do."""
    customers, days = len(world.rate), world.days
    rate = world.rate[:, None] * WEEK[(world.weekday + np.arange(days)) % 7]
    customer, day = np.divmod(np.repeat(np.arange(customers * days), rng.poisson(rate).ravel()), days)
    online = rng.random(len(day)) < world.online[customer] + 0.06 * (day / days - 0.5)  # trade moves online
    second = day * DAY + _clock(rng, world, customer, online)
    usual = _purchases(rng, world, customer, second, online, world.host[customer, day])
    large = rng.random(len(usual)) < 0.01
    usual.loc[large, "amount"] *= rng.uniform(3, 8, large.sum())
    # Sprees look like card testing or a stolen card: several payments within two hours, online often of small amounts.
    sprees = round(customers * days / 130)
    who, begin = rng.integers(0, (customers, days * DAY), (sprees, 2)).T
    begin = begin // DAY * DAY + _clock(rng, world, who, np.zeros(sprees))
    at_shop, price = rng.random(sprees) < 0.5, rng.lognormal(0, 0.7, sprees)
    one = np.repeat(np.arange(sprees), rng.integers(3, 8, sprees))
    second = begin[one] + rng.integers(0, 2 * HOUR, len(one))
    spree = _purchases(rng, world, who[one], second, at_shop[one], world.host[who, begin // DAY][one])
    spree["amount"] *= price[one] * np.where(at_shop[one], 0.3, 1)
    return pd.concat([usual, spree])


def _moments(rng: np.random.Generator, growth: float, n: int) -> np.ndarray:
    """[n] points of time, 0 to 1; their density grows linearly to `growth` times its first value, which is not 1."""
    return (np.sqrt(1 + (growth**2 - 1) * rng.random(n)) - 1) / (growth - 1)


def _victims(rng: np.random.Generator, world: World, name: str, transactions: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Attacks on customers: whom, the more active the likelier, and the second at which each begins.

    Args:
        name: scenario.
        transactions: legitimate ones; with `size`, the mean number of transactions of an attack, they give the number of attacks.
    """
    n = max(1, round(SCENARIOS[name].share * transactions / size))
    customer = rng.choice(len(world.rate), n, p=world.rate / world.rate.sum())
    return customer, (_moments(rng, SCENARIOS[name].growth, n) * world.days * DAY).astype(np.int64)


def _large_amounts(rng: np.random.Generator, world: World, transactions: int) -> pd.DataFrame:
    """Single payments of hundreds with copied card data, whatever the owner's usual amounts."""
    customer, second = _victims(rng, world, "large amount", transactions, 1)
    online = rng.random(len(customer)) < 0.6
    second = second // DAY * DAY + _clock(rng, world, customer, online)
    rows = _purchases(rng, world, customer, second, online, customer)
    rows["device"] = np.where(online & (rng.random(len(rows)) < 0.6), _new_devices(rng, world, customer), rows["device"])
    return rows.assign(amount=rng.lognormal(np.log(380), 0.4, len(rows)), scenario=NAMES.index("large amount"))


def _stolen_cards(rng: np.random.Generator, world: World, transactions: int) -> pd.DataFrame:
    """A thief pays with the card itself for a day or two, some times the owner's amounts, half of them elsewhere."""
    customer, second = _victims(rng, world, "stolen card", transactions, 11)
    there = np.where(rng.random(len(customer)) < 0.5, customer, rng.integers(0, len(world.rate), len(customer)))
    greed, length = rng.uniform(3, 8, len(customer)), rng.integers(1, 3, len(customer))
    one = np.repeat(np.arange(len(customer)), rng.integers(4, 19, len(customer)))
    day = second[one] // DAY + rng.integers(0, length[one])
    online = np.zeros(len(one), bool)
    rows = _purchases(rng, world, customer[one], day * DAY + _clock(rng, world, customer[one], online), online, there[one])
    card = _own_devices(world, customer[one], rows["second"].to_numpy(), 0)
    return rows.assign(device=card, amount=rows["amount"] * greed[one], scenario=NAMES.index("stolen card"))


def _card_testing(rng: np.random.Generator, world: World, transactions: int) -> pd.DataFrame:
    """Small payments within minutes at one online shop show that stolen card data work; half the time a large one follows."""
    customer, second = _victims(rng, world, "card testing", transactions, 7.5)
    device, span = _new_devices(rng, world, customer), rng.integers(HOUR // 6, 2 * HOUR, len(customer))
    tests = rng.integers(3, 12, len(customer))
    one = np.repeat(np.arange(len(customer)), tests)
    rows = _purchases(rng, world, customer[one], second[one], np.ones(len(one), bool), customer[one])
    shop = rows["merchant"].to_numpy()[np.cumsum(tests) - tests]
    rows = rows.assign(second=rows["second"] + rng.integers(0, span[one]), merchant=shop[one], device=device[one])
    rows["amount"] = rng.lognormal(np.log(4), 0.8, len(one))
    use = np.flatnonzero(rng.random(len(customer)) < 0.5)
    later = second[use] + span[use] + rng.integers(0, DAY, len(use))
    haul = _purchases(rng, world, customer[use], later, np.ones(len(use), bool), customer[use])
    haul["amount"] *= rng.uniform(2, 8, len(use))
    return pd.concat([rows, haul.assign(device=device[use])]).assign(scenario=NAMES.index("card testing"))


def _account_takeovers(rng: np.random.Generator, world: World, transactions: int) -> pd.DataFrame:
    """Somebody else logs in, with a new device or from another country or both, and pays more and more over a day or two."""
    customer, second = _victims(rng, world, "account takeover", transactions, 6)
    n = len(customer)
    kind = rng.choice(3, n, p=(0.4, 0.15, 0.45))  # a new device, another country, both
    device, country = _new_devices(rng, world, customer), rng.integers(0, len(COUNTRIES), n)
    span, peak = rng.integers(DAY // 4, 2 * DAY, n), rng.uniform(2, 7, n)
    one = np.repeat(np.arange(n), rng.integers(3, 10, n))
    progress = rng.random(len(one))
    online = np.ones(len(one), bool)
    rows = _purchases(rng, world, customer[one], second[one] + (progress * span[one]).astype(np.int64), online, customer[one])
    return rows.assign(
        device=np.where(kind[one] != 1, device[one], rows["device"]),
        country=np.where(kind[one] != 0, country[one], rows["country"]),
        amount=rows["amount"] * (0.7 + progress * peak[one]),
        scenario=NAMES.index("account takeover"),
    )


def _affected(
    rng: np.random.Generator, world: World, rows: pd.DataFrame, name: str, length: tuple[int, int], share: float
) -> np.ndarray:
    """[rows] true for visits to terminals that are fraudulent at the time; busy terminals are so more often.

    Args:
        rows: legitimate transactions.
        name: scenario.
        length: days that it lasts, least and most.
        share: of the visits that become fraud; gives the number of terminals.
    """
    merchant, day = rows["merchant"].to_numpy(), rows["second"].to_numpy() // DAY
    local = merchant < world.local
    visits = np.bincount(merchant[local], minlength=world.local)
    daily = (visits**2).sum() / visits.sum() / world.days  # of a terminal that is drawn by its visits
    inside = np.mean(length) * (1 - np.mean(length) / (4 * world.days))  # days of a period that are not beyond the record
    needed = SCENARIOS[name].share * len(rows) / (daily * inside * share)
    n = max(1, round(needed))
    terminal, lasts = rng.choice(world.local, n, p=visits / visits.sum()), rng.integers(length[0], length[1] + 1, n)
    centre = (_moments(rng, SCENARIOS[name].growth, n) * world.days).astype(int)
    period, on = _runs(centre - lasts // 2, lasts, world.days)
    active = np.zeros((len(world.level), world.days), bool)
    active[terminal[period], on] = True
    spared = rng.random(len(rows)) > max(needed, 0.5)  # in a small record, where even one terminal is too much
    return active[merchant, np.minimum(day, world.days - 1)] & ~spared


def _compromised_terminals(rng: np.random.Generator, world: World, ordinary: pd.DataFrame) -> pd.DataFrame:
    """The legitimate transactions, with those at a terminal under foreign control for 14 to 35 days turned into fraud.

    At the record's beginning nearly all of them are; at its end less than half, but their amounts are raised.
    """
    t = ordinary["second"].to_numpy() / (world.days * DAY)
    affected = _affected(rng, world, ordinary, "compromised terminal", (14, 35), 0.65)
    fraud = affected & (rng.random(len(t)) < 0.9 - 0.5 * t)
    amount = ordinary["amount"] * np.where(fraud, 1 + 0.5 * t, 1)
    return ordinary.assign(amount=amount, scenario=np.where(fraud, NAMES.index("compromised terminal"), 0))


def _collusive_terminals(rng: np.random.Generator, world: World, ordinary: pd.DataFrame) -> pd.DataFrame:
    """For weeks, a terminal charges cards of its own visitors once more, similar amounts one to 14 days after the visit."""
    share = 0.4
    visits = ordinary[_affected(rng, world, ordinary, "collusive terminal", (21, 56), share)]
    again = visits[rng.random(len(visits)) < share]
    later = rng.integers(1, 15, len(again)) * DAY + rng.normal(0, 2 * HOUR, len(again)).astype(np.int64)
    amount = again["amount"] * rng.uniform(0.9, 1.1, len(again))
    return again.assign(second=again["second"] + later, amount=amount, scenario=NAMES.index("collusive terminal"))


def _table(rng: np.random.Generator, rows: pd.DataFrame, terminals: int, first_day: date) -> pd.DataFrame:
    """From indices to ids. Those of counterparties and devices are shuffled, so that they tell nothing."""
    device, devices = pd.factorize(rows["device"].to_numpy())
    merchants = np.array([f"M{i:05d}" for i in rng.permutation(terminals)], object)
    names = np.array([f"D{i:06d}" for i in rng.permutation(len(devices))], object)
    accounts = np.array([f"C{i:05d}" for i in range(rows["customer"].max() + 1)], object)
    return pd.DataFrame(
        {
            "transaction": [f"T{i:07d}" for i in range(len(rows))],
            "time": np.datetime64(first_day, "s") + rows["second"].to_numpy().astype("timedelta64[s]"),
            "account": accounts[rows["customer"]],
            "counterparty": merchants[rows["merchant"]],
            "amount": np.maximum(rows["amount"].to_numpy().round(2), 0.01),
            "device": names[device],
            "country": np.array(COUNTRIES, object)[rows["country"]],
            "channel": np.where(rows["online"], "online", "terminal").astype(object),
            "label": (rows["scenario"].to_numpy() > 0).astype(np.int8),
            "scenario": np.array(NAMES, object)[rows["scenario"]],
        }
    )
