"""The contract between a use case and everything that runs it: command line, tests, API and pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from shared.config import RunConfig
from shared.errors import Finding
from shared.runs import Run


class Record(BaseModel):
    """Base of request and response models: an unknown field is an error, not silently ignored."""

    model_config = ConfigDict(extra="forbid")


Progress = Callable[[int], None]
"""Called with the number of records done since the last call."""


class Predictor(Protocol):
    """A loaded model: records in, decisions with explanations out."""

    @property
    def Request(self) -> type[BaseModel]:  # noqa: N802 (a class)
        """The model of one request."""
        ...

    @property
    def Response(self) -> type[BaseModel]:  # noqa: N802
        """The model of one response."""
        ...

    def predict(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request, in order.

        The server computes the requests of several clients together. Where a request's position in the list, or the others
        in it, change its response, the predictor has a method `predict_groups(groups: Sequence[Sequence[Request]]) ->
        list[list[Response] | Exception | Future]` besides, for which only those of its own group count. What either raises makes
        the server ask again for each client by itself; an exception in a group's place goes to its client alone. A future
        (`concurrent.futures`) of a group's responses holds up nobody else: for what waits for other services.

        One whose network can be exported has `exportable` and `with_network`; see `shared.export.Exportable`.

        One that can remember something between requests has a method `keeping_in(folder: Path) -> Predictor` that gives one that
        does; the server asks for it where its setting `keep` names a folder.

        One that acts on the world has a method `rehearsing() -> Predictor` that gives one that does not: `usecases predict` asks
        that one a record of the command line, unless `act=true` is given.
        """
        ...

    def process(self, source: Any, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Predict for a file or folder in constant memory; returns a summary. `options` are fields of every request, or its own.

        A path, or text that the predictor's `accepts(source: str) -> bool` takes, such as a URL, if it has that method. The
        summary's `interrupted` is true where Ctrl-C ended it and what was done is kept; `failed` likewise where reading or
        writing failed, which `ended` then says. Where no `out` is given, its ending is the predictor's `suffix`, if it has one.
        """
        ...

    def examples(self) -> list[Any]:
        """A few valid requests: for tests, API documentation and a first try."""
        ...


class StreamProcessor(Protocol):
    """Decides a stream record by record, with a state that `shared.streaming` carries over restarts.

    A predictor offers one by `open_stream(options: Mapping[str, Any]) -> StreamProcessor`. Decisions and state depend on the
    records and their order alone, never on how they are grouped into batches: a restart groups them differently.
    """

    def key(self, record: dict[str, Any]) -> str:
        """The record's id, its own among all kinds of records: one already decided is not decided again.

        Raises:
            ValueError: the record cannot be decided; the message becomes its error decision. `decide` gets none of these.
        """
        ...

    def decide(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One JSON-able decision for each record, in order (`"alert": true` is counted); updates the state.

        Records that only carry feedback, such as labels, get an acknowledgement.
        """
        ...

    def learn(self, records: Sequence[dict[str, Any]]) -> None:
        """Update the state as `decide` does, without decisions: replay after a restart."""
        ...

    def snapshot(self, folder: Path) -> None:
        """Write the state as files into an empty folder. No pickle."""
        ...

    def restore(self, folder: Path) -> None:
        """Take the state from a snapshot. Called at most once, before anything else."""
        ...


@dataclass(frozen=True)
class Assumption:
    """What somebody's data is taken for: a key of the configuration, the value that suits it, and why.

    Attributes:
        key: dotted, such as `data.columns.amount`.
        value: what YAML can hold.
        why: half a sentence that names what was seen in the data, for the person who must judge whether it is right.
    """

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class JudgedRows:
    """The rows that a run was judged on, so that another run that judged the same ones can be compared with it row by row.

    Attributes:
        ids: [rows] of each row; equal ones are told apart by their order.
        truths: [rows] what is known of each; a row of the same id with another truth is not the same one.
        groups: [rows] units whose rows depend on each other, such as accounts or patients.
        statistics: metric name to a function of the rows' weights; see `shared.evaluation.intervals.bootstrap_groups`.
    """

    ids: Sequence[str]
    truths: Sequence[Any]
    groups: Sequence[Any]
    statistics: Mapping[str, Callable[[Any], float]]


@dataclass(frozen=True)
class UseCase:
    """What a folder under `usecases/` offers. Its package exports exactly one: `USECASE`.

    Attributes:
        train: `train(config, run)` writes the artefact, metrics.json, report.html and model_card.md into the run.
        load: `load(artifact_dir)` needs nothing but that folder.
        configs: the folder of `quick.yaml`, small settings, and perhaps `default.yaml`, read first: what differs from the code.
        request, response: the models of one record, before anything is loaded: a predictor's `Request` and `Response` may
            suit its data better. A text field of a
            request with `json_schema_extra={"contentEncoding": "base64"}` is a file, which clients of the API may also upload.
        evaluate: `evaluate(predictor, config)` judges a trained model on the data that the configuration names.
        check: `check(config)` returns every mismatch of the user's data at once; it never raises for bad data.
        suggest: `suggest(source, given)` looks at a path of the user's data and returns the `Assumption`s that the use case's
            configuration needs for it; `given` are keys that the user has decided. It raises a `UserError` that asks for what
            the data cannot tell, such as which of two columns is the label, and names the key to give.
        benchmarks: published protocols by name; `benchmark(data_folder, seeds, log)` returns the result as a dict.
        tools: what else is needed around the model, by name; `tool(source, out, options, say)` writes a file and returns a
            summary. It checks its options, has a name for the file if `out` is None, and a docstring that starts with its use.
        judged: `judged(run_folder)` gives the `JudgedRows` of a finished run, with those metrics that its predictions.parquet
            tells. It raises a `UserError` that says why where there are none.
        widths: `widths(config)` gives keys of whole numbers, or lists of them, that together make the networks wider, for
            learning curves; none where the networks are as wide as somebody else has trained them.
        knobs: what `usecases tune` searches: key to a range or list as `shared.experiments.tuning.read_space` reads it.
        demo: `demo(page)` builds the use case's page from a `shared.serving.demo.Demo`, in the current Gradio context.
    """

    name: str
    title: str
    summary: str
    config: type[RunConfig]
    configs: Path
    train: Callable[[Any, Run], None]
    load: Callable[[Path], Predictor]
    request: type[BaseModel]
    response: type[BaseModel]
    evaluate: Callable[[Any, Any], dict[str, Any]]
    check: Callable[[Any], list[Finding]]
    suggest: Callable[[Path, Mapping[str, Any]], list[Assumption]] | None = None
    benchmarks: Mapping[str, Callable[..., dict[str, Any]]] = field(default_factory=dict)
    tools: Mapping[str, Callable[..., dict[str, Any]]] = field(default_factory=dict)
    judged: Callable[[Path], JudgedRows] | None = None
    widths: Callable[[Any], Sequence[str]] | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    demo: Callable[[Any], None] | None = None
