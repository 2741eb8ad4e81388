"""A search over settings with Optuna, by the validation figure alone: no trial is judged on the test part."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from shared.config import RunConfig, dump, read_value
from shared.errors import UserError, nearest, require
from shared.experiments import points
from shared.experiments.comparing import flat
from shared.files import write_json, write_text
from shared.runs import StillRunningError, reason, state, validation
from shared.usecase import UseCase

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

KIND = "tuning"
RESULT, BEST, TRIALS = "tuning.json", "best.yaml", "trials.jsonl"
ORDERS = 10  # a range whose ends differ by this factor is searched by orders of magnitude
HOPELESS = 3  # trials after which a search ends if all have failed
ENOUGH = 8  # trials from which on it is told which knobs mattered
OPTIMISTIC = (
    "The winner is the best of many trials on the same validation rows, partly by luck: its figure is optimistic, and so is its "
    "gain. What it is worth, the test part tells, which no trial was judged on: train with these settings"
)


def read_space(texts: Mapping[str, str], config: RunConfig) -> dict[str, BaseDistribution]:
    """What is searched: key to `low..high`, or to values with commas between them.

    The configuration's own value is always among what is searched. A key of whole numbers stays one of whole numbers; a range
    over an order of magnitude or more is searched by orders.

    Raises:
        UserError: a key is none of the configuration's, or a text is neither.
    """
    distributions = require("optuna", "tune").distributions
    own = defaults(config)
    made: dict[str, BaseDistribution] = {}
    for key, text in texts.items():
        if key not in own:
            raise UserError(f"{key}: no such key to search. {nearest(key, own)}")
        default = own[key]
        if isinstance(default, list | dict):
            raise UserError(f"{key} holds {default}; only single values can be searched.")
        low, dots, high = text.partition("..")
        if not dots:
            made[key] = distributions.CategoricalDistribution(list(dict.fromkeys([default, *map(_value, text.split(","))])))
            continue
        ends = [_value(end) for end in (low, high)]
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends) or ends[0] >= ends[1]:
            raise UserError(f"{key}={text}: give a range as low..high, such as 0.001..0.1, or values as 32,64,128.")
        if not isinstance(default, int | float) or isinstance(default, bool):
            raise UserError(
                f"{key} is {default}, from which no range can be searched. Set it to a number, or give values: a,b,c."
            )
        if isinstance(default, int):
            if any(end != int(end) for end in ends):
                raise UserError(f"{key} is a whole number, {default}. Give whole ends: low..high.")
            ends = [int(end) for end in ends]  # 1e2 is one, too
        ends = [min(ends[0], default), max(ends[1], default)]
        by_order = ends[0] > 0 and ends[1] / ends[0] >= ORDERS
        kind = distributions.IntDistribution if isinstance(default, int) else distributions.FloatDistribution
        made[key] = kind(ends[0], ends[1], log=by_order)
    return made


def defaults(config: RunConfig) -> dict[str, Any]:
    """Dotted key to value, of all that can be set."""
    return flat(config.settled().model_dump(mode="json"))


def _value(text: str) -> Any:
    """A number also where YAML sees none, as in 1e-3."""
    try:
        return float(text) if "e" in text.lower() else read_value(text)
    except ValueError:
        return read_value(text)


def check_space(texts: Mapping[str, str], config: RunConfig) -> None:
    """Raises UserError if `read_space` does, or if the configuration refuses an end of a range, or a value."""
    with TemporaryDirectory() as scratch:
        write_text(Path(scratch) / "config.yaml", dump(config.settled()))
        for key, one in read_space(texts, config).items():
            for value in getattr(one, "choices", ()) or (one.low, one.high):  # type: ignore[attr-defined]
                points.settings(type(config), Path(scratch), {key: value})


def run(
    usecase: UseCase,
    folder: Path,
    texts: Mapping[str, str],
    trials: int,
    minutes: float | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Try settings until there are `trials` of them, or the time is over, and write the best ones into the folder.

    The first trial has the configuration's own settings. One that was interrupted is gone on with; one that fails, for whatever
    reason, is told with it and left.

    Args:
        folder: as `points.begin` or `points.reopen` gives it.
        texts: see `read_space`.
        minutes: after which no further trial is begun, counted from now.

    Raises:
        StillRunningError: another process goes on with the same search.
        UserError: the first trial is not possible, all or the first `HOPELESS` ones fail, or the recipe records no validation
            figure.
    """
    optuna = require("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.monotonic()
    config = points.settings(usecase.config, folder, {})
    space = read_space(texts, config)
    own = {key: value for key, value in defaults(config).items() if key in space}
    study = _study(folder, config.seed)
    if not study.trials:
        study.enqueue_trial(own)
    while len(ended := study.get_trials(states=_ended())) < trials:
        if ended and minutes is not None and time.monotonic() - began > 60 * minutes:
            say(f"The {minutes:g} minutes are over")
            break
        number, values = _next(study, space)
        place = folder / "trials" / f"{number:04d}"
        say(f"Trial {number + 1} of {trials}: {', '.join(f'{key}={_told(value)}' for key, value in values.items())}")
        try:
            points.trained(usecase, folder, values, place, until_validated=True)
        except StillRunningError:
            raise
        except Exception as error:
            if isinstance(error, UserError) and not ended:
                raise
            study.tell(number, state=optuna.trial.TrialState.FAIL)
            say(f"  Failed: {reason(error)}")
            if len(ended) + 1 >= HOPELESS:
                _check_some(study, folder)
        else:
            found = validation(place)
            if found is None:
                raise UserError(f"{usecase.name} records no validation figure with this data, so there is nothing to search by.")
            study.tell(number, found[1])
            say(f"  {found[0]} {found[1]:.4f} on validation")
        shutil.rmtree(place / "checkpoints", ignore_errors=True)  # they are large, and a trial is not gone on with
    _check_some(study, folder)
    result = summarise(usecase.name, study, folder, own)
    write_text(folder / BEST, dump(points.settings(usecase.config, folder, result["best"]["settings"])))
    write_json(folder / RESULT, result)
    return result


def _check_some(study: Study, folder: Path) -> None:
    """Raises UserError, with the reasons, if all trials so far have failed."""
    rows = [_row(trial, folder) for trial in study.get_trials(states=_ended())]
    if all(row["value"] is None for row in rows):
        whys: dict[str, list[str]] = {}
        for row in rows:
            whys.setdefault(row["failed"], []).append(str(row["trial"]))
        told = "\n".join(f"  - trial {', '.join(numbers)}: {why}" for why, numbers in whys.items())
        raise UserError(
            f"No trial succeeded, so there is nothing to search by:\n{told}\nWhere each failed is in {folder / 'trials'}, in its "
            "events.jsonl. Once that is mended, --resume goes on with further trials."
        )


def _study(folder: Path, seed: int) -> Study:
    """The study in the folder, kept as lines of JSON."""
    optuna = require("optuna", "tune")
    journal = require("optuna.storages.journal", "tune")
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(folder / TRIALS)))
    study = optuna.create_study(storage=storage, study_name=KIND, direction="maximize", load_if_exists=True)
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))  # goes on with other draws than it began with
    return study


def _ended() -> tuple[Any, ...]:
    states = require("optuna", "tune").trial.TrialState
    return states.COMPLETE, states.FAIL


def _next(study: Study, space: Mapping[str, BaseDistribution]) -> tuple[int, dict[str, Any]]:
    """Number and settings of the trial that was interrupted, or of a new one."""
    states = require("optuna", "tune").trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        if set(trial.params) == set(space):
            return trial.number, trial.params
        study.tell(trial.number, state=states.FAIL)  # it was interrupted before it had all its settings
    asked = study.ask(dict(space))
    return asked.number, asked.params


def summarise(usecase: str, study: Study, folder: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    """The result as JSON: all trials in their order, the best one, and how much the knobs mattered.

    Args:
        own: the settings that the search began with.
    """
    states = require("optuna", "tune").trial.TrialState
    trials = study.get_trials(states=_ended())
    complete = [(trial, trial.value) for trial in trials if trial.state == states.COMPLETE and trial.value is not None]
    best, reached = max(complete, key=lambda one: one[1])  # of equal ones the first
    begun = next((value for trial, value in complete if trial.params == own), None)
    found = validation(folder / "trials" / f"{best.number:04d}")
    assert found is not None  # it is complete
    gain = None if begun is None else reached - begun
    said = f"The best of {len(complete)} trials reaches {found[0]} {reached:.4f} on validation"
    said += ", but the defaults failed, so there is no gain to tell" if gain is None else f", {gain:+.4f} against the defaults"
    if best.params == own:
        said = f"None of {len(complete)} trials was better on validation than the defaults, with {found[0]} {reached:.4f}"
    if failed := len(trials) - len(complete):
        said += f". {failed} more failed, for the reasons told with them"
    return {
        "usecase": usecase,
        "metric": found[0],
        "trials": [_row(trial, folder) for trial in trials],
        "best": {"trial": best.number + 1, "value": reached, "settings": best.params, "defaults": dict(own), "gain": gain},
        "importance": _importance(study) if len(complete) >= ENOUGH else {},
        "honest": OPTIMISTIC,
        "conclusion": f"{said}.",
    }


def _row(trial: FrozenTrial, folder: Path) -> dict[str, Any]:
    place = folder / "trials" / f"{trial.number:04d}"
    about = state(place) if (place / "run.json").exists() else {"reason": "interrupted before it began"}
    row = {"trial": trial.number + 1, "value": trial.value, "seconds": about.get("seconds"), "settings": trial.params}
    return row if trial.value is not None else {**row, "failed": about.get("reason", "interrupted")}


def _importance(study: Study) -> dict[str, float]:
    """Share of the figure's variance that each knob explains (Hutter, Hoos & Leyton-Brown 2014), the largest first."""
    importance = require("optuna.importance", "tune")
    if len({trial.value for trial in study.trials if trial.value is not None}) < 2:
        return {}  # nothing varies, so nothing explains it
    evaluator = importance.FanovaImportanceEvaluator(seed=0)
    return {key: float(share) for key, share in importance.get_param_importances(study, evaluator=evaluator).items()}


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
