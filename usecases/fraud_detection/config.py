"""Every knob of fraud detection, with its unit and default."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from shared.config import RunConfig, Section, Training
from shared.data.cleaning import Notation


class ColumnNames(Section):
    """Names of the columns; null: recognised by their usual names (TX_DATETIME, transaction_id, card, merchant, …)."""

    transaction: str | None = Field(None, description="id of the transaction; without one, row numbers serve")
    time: str | None = Field(
        None,
        description="when: ISO 8601, Unix seconds or milliseconds, or a count of data.time_unit; none: there is none, each "
        "row stands for itself",
    )
    account: str | None = Field(None, description="account, card or customer who pays; optional")
    counterparty: str | None = Field(None, description="terminal, merchant or account that is paid; optional")
    amount: str | None = Field(None, description="how much is paid; none: there is none, where rows stand for themselves")
    label: str | None = Field(None, description="1 fraud, 0 not, empty not known; without one, only the anomaly model is trained")
    label_time: str | None = Field(
        None, description="when the label became known; null: data.label_delay_days after the transaction"
    )
    scenario: str | None = Field(None, description="kind of fraud, for slices of the report only; never an input")


class Simulation(Section):
    """The size of the simulated data (data.source=simulated)."""

    customers: int = Field(3000, ge=50, description="customers with an account each")
    terminals: int = Field(4000, ge=50, description="terminals where they pay")
    days: int = Field(112, ge=35, description="length of the record")


class Data(Section):
    source: str = Field("simulated", description="a file or a folder of files; 'simulated' makes data, which is not real")
    format: Literal["auto", "table", "handbook", "ulb", "paysim", "ieee_cis"] = Field("auto", description="of the source")
    encoding: str = Field("utf-8", description="of text files")
    decimal: Literal[".", ","] = Field(".", description="sign before the decimals of a number in text")
    thousands: Literal[".", ",", "'", "space"] | None = Field(None, description="sign between groups of three digits; null: none")
    day_first: bool = Field(False, description="whether times in text may be written 24.12.2025 or 24/12/2025, beside ISO 8601")
    columns: ColumnNames = ColumnNames()
    positive: bool | int | float | str | None = Field(
        None, description="the label's value that is to be found; null: 1, yes, true, fraud, churned, default, bad, … (told)"
    )
    numeric: tuple[str, ...] | None = Field(None, description="further numeric inputs; null: every other column of numbers")
    categorical: tuple[str, ...] | None = Field(None, description="further categorical inputs; null: every other column of words")
    exclude: tuple[str, ...] = Field((), description="columns that are no inputs, such as what is known only afterwards")
    time_unit: Literal["auto", "s", "ms", "min", "h", "D"] = Field(
        "auto", description="of numeric times; auto: Unix seconds or ms"
    )
    label_delay_days: float = Field(7.0, ge=0, description="after how many days it is known whether a transaction was fraud")
    faults: Literal["drop", "refuse"] = Field("drop", description="rows with missing or unusable values")
    simulation: Simulation = Simulation()

    @field_validator("thousands")
    @classmethod
    def _not_the_decimal(cls, thousands: str | None, info: ValidationInfo) -> str | None:
        if thousands and thousands == info.data.get("decimal"):
            raise ValueError("this is the sign before the decimals already, data.decimal")
        return thousands

    @property
    def notation(self) -> Notation:
        return Notation(self.decimal, self.thousands, self.day_first)


class Split(Section):
    """Consecutive in time: history (features only), training, the delay of the labels, test; without a time, folds."""

    start: date | None = Field(None, description="first day of training; null: as late as the record allows")
    train_days: float | None = Field(
        None, gt=0, description="days whose labels are trained on; null: up to 28, as many as there are"
    )
    test_days: float | None = Field(None, gt=0, description="days on which the result is judged; null: up to 14, a third at most")
    validation: Literal["time", "accounts"] = Field(
        "time", description="which part of the training days models are chosen on: the last quarter, or a quarter of the accounts"
    )
    known_accounts: Literal["remove", "keep"] = Field(
        "remove", description="whether accounts with fraud known before a test day are left out of it, as blocked cards are"
    )
    folds: int = Field(5, ge=2, description="of rows without a time: each is judged once, by a model that did not see its fold")


class Words(Section):
    """What reports and pages call a row and what is looked for, where rows have no time; payments are called payments."""

    record: str | None = Field(None, min_length=1, description="a row, in the singular: customer, loan, …; null: record")
    finding: str | None = Field(
        None, min_length=1, description="what is looked for: churn, default, …; null: the label's name where that says it"
    )


class AlertCosts(Section):
    """What the threshold is chosen by, in the currency of the amounts."""

    alert: float = Field(5.0, gt=0, description="of reviewing one alert")
    loss_share: float = Field(1.0, gt=0, description="share of the amount that is lost with a missed fraud")
    loss_fixed: float = Field(0.0, ge=0, description="lost with every missed fraud besides, such as a chargeback's fee")


class Network(Section):
    """What all networks have. They train for all their epochs: no part is held out to stop them by."""

    training: Training = Training()

    @field_validator("training")
    @classmethod
    def _all_epochs(cls, training: Training) -> Training:
        if training.patience:
            raise ValueError("patience changes nothing here, for no part is held out to stop by; set epochs instead")
        return training


class Tabular(Network):
    """An ensemble of multilayer perceptrons over the features (TabM)."""

    bins: int = Field(16, ge=2, description="pieces of a number's piecewise-linear encoding")
    hidden: int = Field(64, ge=1, description="units of a layer")
    layers: int = Field(2, ge=1, description="hidden layers")
    copies: int = Field(8, ge=1, description="members of the ensemble, which share most weights")
    dropout: float = Field(0.1, ge=0, lt=1, description="after each layer")
    training: Training = Training(epochs=10, batch_size=1024, learning_rate=5e-3, weight_decay=1e-2)


class Sequence(Network):
    """Attention over the account's last transactions, beside the features of the newest."""

    length: int = Field(16, ge=2, description="transactions that it sees, the one in question included")
    hidden: int = Field(32, ge=1, multiple_of=4, description="size of a transaction's vector")
    copies: int = Field(8, ge=1, description="members of the ensemble on top, which share most weights")
    dropout: float = Field(0.1, ge=0, lt=1, description="before the output")
    training: Training = Training(epochs=4, batch_size=1024, learning_rate=5e-3, weight_decay=1e-2)


class Anomaly(Network):
    """A variational autoencoder that needs no labels."""

    hidden: int = Field(64, ge=1, description="units of the hidden layers")
    latent: int = Field(8, ge=1, description="size of the code")
    training: Training = Training(epochs=5, batch_size=1024, learning_rate=2e-3)


class Model(Section):
    members: tuple[Literal["logistic", "boosting", "lightgbm", "tabular", "sequence", "anomaly"], ...] = Field(
        ("logistic", "boosting", "lightgbm", "tabular", "sequence", "anomaly"),
        min_length=1,
        description="what is fitted; lightgbm is left out where it is not installed (extra: boosting)",
    )
    tabular: Tabular = Tabular()
    sequence: Sequence = Sequence()
    anomaly: Anomaly = Anomaly()


class FraudConfig(RunConfig):
    data: Data = Data()
    split: Split = Split()
    model: Model = Model()
    costs: AlertCosts = AlertCosts()
    words: Words = Words()
