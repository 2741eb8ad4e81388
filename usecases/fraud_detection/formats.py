"""The layouts in which transactions come: plain tables, the Handbook's, ULB, PaySim, IEEE-CIS, and the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from shared.data import cleaning, columns, guessing, sources, tables
from shared.errors import DataError, Finding, UserError
from usecases.fraud_detection.config import Data

SIMULATED = "simulated"
NONE = "none"  # of a role: the data has no such column
REQUIRED = ("time", "amount")
ALONE = ("transaction", "account", "amount", "label", "scenario")  # roles of rows without a time
TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")
JOIN = "|"
LISTED = 12
# The usual names of each role, most specific first, as columns.normal writes them.
# fmt: off
USUAL = {
    "transaction": ("txid", "transactionid", "txnid", "transid", "transnum", "paymentid", "transaction", "txref", "id"),
    "time": (
        "txdatetime", "transactiondatetime", "transactiontime", "transactiontimestamp", "transdatetranstime", "transactiondate",
        "timestamp", "datetime", "eventtime", "createdat", "time", "date", "unixtime", "ts",
    ),
    "account": (
        "accountid", "account", "accountno", "accountnumber", "iban", "cardid", "cardno", "cardnumber",
        "ccnum", "card", "pan", "customerid", "customer", "clientid", "client",
        "userid", "user", "payerid", "payer", "senderid", "sender", "fromaccount",
    ),
    "counterparty": (
        "counterparty", "counterpartyid", "terminalid", "terminal", "merchantid", "merchant", "merchantname", "beneficiary",
        "payeeid", "payee", "recipient", "receiver", "toaccount",
    ),
    "amount": ("txamount", "transactionamount", "transactionamt", "amount", "amt", "value"),
    "label": ("txfraud", "isfraud", "fraud", "fraudulent", "isfraudulent", "fraudflag", "fraudlabel", "label", "class", "target"),
    "label_time": ("labeltime", "labelledat", "labeledat", "reportedat", "reporttime", "chargebackdate", "chargebackat"),
    "scenario": ("txfraudscenario", "fraudscenario", "scenario", "fraudtype"),
}
LABELS = (  # of rows that stand for themselves, after the usual ones
    "churn", "churned", "churnflag", "attrition", "attritionflag", "exited", "default", "defaulted", "isdefault", "badloan",
    "loanstatus", "status", "outcome",
)
# fmt: on


@dataclass(frozen=True)
class Format:
    """What is known of a public layout; a plain table has nothing of it, its roles are recognised by their usual names.

    Attributes:
        columns: the column of each role that the layout has.
        marks: columns by which the layout is recognised.
        unit: of numeric times, as data.time_unit.
        no_inputs: columns that are no inputs unless they are asked for, and `why`.
        categorical: columns that are words even where they look like numbers.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    unit: str = "auto"
    no_inputs: tuple[str, ...] = ()
    why: str = ""
    categorical: tuple[str, ...] = ()


FORMATS = {
    "handbook": Format(
        columns={
            "transaction": "TRANSACTION_ID",
            "time": "TX_DATETIME",
            "account": "CUSTOMER_ID",
            "counterparty": "TERMINAL_ID",
            "amount": "TX_AMOUNT",
            "label": "TX_FRAUD",
            "scenario": "TX_FRAUD_SCENARIO",
        },
        marks=frozenset({"TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT"}),
        no_inputs=("TX_TIME_SECONDS", "TX_TIME_DAYS"),
        why="repeat the time",
    ),
    "ulb": Format(
        columns={"time": "Time", "amount": "Amount", "label": "Class"},
        marks=frozenset({"Time", "Amount", *(f"V{n}" for n in range(1, 29))}),
        unit="s",
    ),
    "paysim": Format(
        columns={"time": "step", "account": "nameOrig", "counterparty": "nameDest", "amount": "amount", "label": "isFraud"},
        marks=frozenset({"step", "type", "nameOrig", "nameDest", "oldbalanceOrg"}),
        unit="h",
        no_inputs=("newbalanceOrig", "newbalanceDest", "isFlaggedFraud"),
        why="are known only after the transaction was made",
    ),
    "ieee_cis": Format(
        # There is no account: what says most about the card stands for it, as is usual for this data.
        columns={
            "transaction": "TransactionID",
            "time": "TransactionDT",
            "account": JOIN.join((*(f"card{n}" for n in range(1, 7)), "addr1")),
            "amount": "TransactionAmt",
            "label": "isFraud",
        },
        marks=frozenset({"TransactionID", "TransactionDT", "TransactionAmt", "ProductCD", "card1"}),
        unit="s",
        categorical=(
            "ProductCD", *(f"card{n}" for n in range(1, 7)), "addr1", "addr2", *(f"M{n}" for n in range(1, 10)),
            "P_emaildomain", "R_emaildomain", "DeviceType", "DeviceInfo", *(f"id_{n}" for n in range(12, 39)),
        ),
    ),
}  # fmt: skip


@dataclass
class Raw:
    """A table as it was read (index: row numbers from 1), and the column of each role."""

    table: pd.DataFrame
    where: str
    mapping: dict[str, str]
    format: Format
    findings: list[Finding]


def read(config: Data, seed: int) -> Raw:
    """Read the source, recognise its layout and its columns.

    Raises:
        UserError: it does not exist or cannot be read as a table.
        DataError: the columns cannot be told.
    """
    table, where, findings = _source(config, seed)
    known = recognise(table) if config.format == "auto" else FORMATS.get(config.format, Format())
    wanted: dict[str, str | None] = {}
    for role, named in config.columns:
        column = named or known.columns.get(role)
        if column and (together := joined(table, column)) is not None:
            table[column] = together
        absent = named is None and role not in REQUIRED and column not in table
        wanted[role] = None if absent else column  # not every copy of a public data set has all of its columns
    usual: dict[str, tuple[str, ...]] = dict.fromkeys(USUAL, ()) if known.columns else dict(USUAL)
    required: tuple[str, ...] = REQUIRED
    try:
        if _stand_alone(table, wanted, where):
            required, usual["label"] = ("label",), USUAL["label"] + LABELS
            usual = {role: usual[role] for role in ALONE if wanted[role] != NONE}
        mapping = columns.assign(table, usual, {role: wanted[role] for role in usual}, required, where)
    except DataError as error:
        if wanted["time"] is None and columns.usual(USUAL["time"], table.columns) is None:
            fix = "Set data.columns.time=none, and data.columns.label to the column that says what is to be found"
            findings = [
                *findings,
                Finding("info", "rows that stand for themselves can be learnt without a time, too", where, fix),
            ]
        raise DataError([*findings, *error.findings]) from None
    return Raw(table, where, mapping, known, findings)


def _stand_alone(table: pd.DataFrame, wanted: Mapping[str, str | None], where: str) -> bool:
    """Whether rows have no time: it is said so, or there is neither a column of that name nor one of times, but a label.

    Raises:
        DataError: there are columns of times, and nobody has said whether one of them is meant.
    """
    if wanted["time"] is not None:
        return wanted["time"] == NONE
    label = wanted["label"] or columns.usual(USUAL["label"] + LABELS, table.columns)
    if label is None or columns.usual(USUAL["time"], table.columns) is not None:
        return False
    looked_at = table.loc[:, ~table.columns.duplicated()].iloc[: guessing.ROWS]
    times = [name for name, kind in guessing.kinds(looked_at).items() if kind.what == "time"]
    if times:
        what = f"it cannot be told whether a row happened at a time: {listed(times)} hold times"
        fix = f"Set data.columns.time={times[0]}, or data.columns.time=none if each row stands for itself"
        raise DataError([Finding("error", what, where, fix)])
    return True


def recognise(table: pd.DataFrame) -> Format:
    """The public layout that has these columns, or that of a plain table."""
    return next((one for one in FORMATS.values() if one.marks <= set(table.columns)), Format())


def joined(table: pd.DataFrame, column: str) -> pd.Series | None:
    """The values of the columns that `column` names, as 'card1|addr1', joined by |; missing where all are.

    Returns:
        None where the table has no such columns, or the column itself.
    """
    parts = column.split(JOIN)
    if column in table or len(parts) == 1 or not set(parts) <= set(table.columns) or not table.columns.is_unique:
        return None
    ids = [cleaning.tidy_ids(table[part]).fillna("") for part in parts]
    together = ids[0].str.cat(ids[1:], sep=JOIN)
    return together.where(together != JOIN * (len(parts) - 1))


def listed(names: Sequence[str]) -> str:
    """The first names, for messages; a table may have hundreds."""
    return ", ".join(names[:LISTED]) + (f", … ({len(names)})" if len(names) > LISTED else "") or "none"


def _source(config: Data, seed: int) -> tuple[pd.DataFrame, str, list[Finding]]:
    if config.source == SIMULATED:
        from usecases.fraud_detection.simulator import simulate

        size = config.simulation
        made = simulate(size.customers, size.terminals, size.days, seed)
        return made.set_axis(pd.RangeIndex(1, len(made) + 1)), SIMULATED, []
    found = Path(config.source).expanduser()
    if not found.exists():
        near = sources.near(config.source)
        raise UserError(
            f"There is no file or folder {config.source}. Give a path, or '{SIMULATED}' for data that is made up. {near}"
        )
    if found.is_file() and found.suffix.lower() in (".pkl", ".pickle"):
        raise _pickles(found)
    if found.is_file():
        table, findings = tables.read(found, config.encoding)
        return table, str(found), findings
    if (found / "train_transaction.csv").exists():
        return _ieee_cis(found, config)
    return _folder(found, config)


def _ieee_cis(folder: Path, config: Data) -> tuple[pd.DataFrame, str, list[Finding]]:
    """The transactions, with what is known of their devices where that is known."""
    file = folder / "train_transaction.csv"
    table, findings = tables.read(file, config.encoding)
    if (beside := folder / "train_identity.csv").exists():
        identity, more = tables.read(beside, config.encoding)
        if absent := [name for name, side in ((file, table), (beside, identity)) if "TransactionID" not in side]:
            raise UserError(f"{absent[0]} has no column TransactionID, on which the two tables are joined.")
        table = table.join(identity.drop_duplicates("TransactionID").set_index("TransactionID"), on="TransactionID")
        findings += more
    return table, str(file), findings


def _folder(folder: Path, config: Data) -> tuple[pd.DataFrame, str, list[Finding]]:
    """All tables of a folder, one after the other in the order of their names; their rows are numbered through."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in TABLES and not f.name.startswith((".", "_")))
    if not files:
        if any(folder.glob("*.pkl")):
            raise _pickles(folder)
        raise UserError(f"{folder} holds no table ({' '.join(TABLES)}). Give a file, or a folder of such files.")
    parts: list[pd.DataFrame] = []
    findings: list[Finding] = []
    rows = 0
    for file in files:
        table, more = tables.read(file, config.encoding)
        if parts and set(table.columns) != set(parts[0].columns):
            differ = ", ".join(sorted(map(str, set(table.columns) ^ set(parts[0].columns))))
            fix = "Give them the same columns, or move one of them elsewhere"
            raise DataError(
                [*findings, Finding("error", f"its columns are not those of {files[0].name}: {differ}", str(file), fix)]
            )
        table.index += rows
        rows = int(table.index[-1]) if len(table) else rows
        parts.append(table)
        findings += more
    if len(parts) > 1:
        starts = ", ".join(f"{file.name} from row {part.index[0]}" for file, part in zip(files, parts, strict=True) if len(part))
        findings.append(
            Finding("info", f"{len(parts)} files make one table", str(folder), f"Rows are numbered through: {starts}")
        )
    return pd.concat(parts), str(folder), findings


def _pickles(path: Path) -> UserError:
    files = path if path.is_file() else path / "*.pkl"
    convert = f"[pandas.read_pickle(f).to_parquet(f[:-3] + 'parquet') for f in glob.glob('{files}')]"
    return UserError(
        f"{path} holds pickle files (.pkl), which are never read here: they can run any code. If you trust where they come "
        f'from, convert them to Parquet yourself: python -c "import glob, pandas; {convert}"'
    )
