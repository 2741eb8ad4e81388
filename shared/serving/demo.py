"""What a use case's page is written with.

A page is one function, `page(demo: Demo) -> None` in the use case's `demo.py`. It is called inside an open `gradio.Blocks`, once
the model is loaded, and puts Gradio's components there; head, navigation, look and error messages come from the frame.
`usecases/recommendation/demo.py` is the example to follow:

    def page(demo: Demo) -> None:
        item = gr.Textbox(label="Item")
        found = gr.HTML()
        item.submit(lambda text: shelf_of(demo, text), item, found)

The use case's `__init__.py` names it, `UseCase(..., demo=demo)`, by a function that imports it only when it is called: Gradio
takes seconds to import. `picture.svg` beside it is its drawing on the front page. "Use your own data" is made of the README's
first block of commands and its section "The data".

- `demo.predict([...])` answers records (requests, or dicts for them) through the same queue as the API's. A page that needs
  more than one answer asks for all in one call: they are computed together.
- `demo.predictor` is the loaded model, `demo.about` its artefact's metadata, `demo.run` the run's folder (report, predictions),
  `demo.metrics` what metrics.json says. `demo.predictor.examples()` are requests that work.
- Handlers run in threads, several at once and for several visitors: what belongs to one visitor is kept in `gr.State`.
- What is wrong with what a visitor gave: raise `UserError`, in any handler; the visitor sees its text, with `@in_place` where
  the answer would be. Anything else that
  is raised shows "Something went wrong here" and goes to the log.
- What is shown is HTML from `shared.serving.pieces`: `notice`, `facts` (tiles), `table`, `bars` (reasons, probabilities),
  `shelf` of `card`s, `picture` (an image with a text for the blind). They escape. Own HTML: `Markup("<p>{}</p>").format(text)`,
  never an f-string. Their look is in `templates/style.css`, in whose colours (`var(--ink)`, `--soft`, `--line`, `--edge`,
  `--paper`, `--wash`, `--accent`, `--good`, `--bad`, `--warn`) pages also draw their SVG: it then suits light and dark.
- Every component has a `label`, a picture its `alt`. Chats and images get `buttons=[...]` without "share", which would send
  them away. Nothing may be wider than 390 px without scrolling by itself: rows of `gr.Row` wrap if their columns have a
  `min_width` of 290 at most.
- Sliders are this module's `slider`. One is listened to by `change`, with `trigger_mode="always_last"`: `release` does not
  hear the keyboard. A text that filters while it is typed is listened to by `change`, too.
- A file that is uploaded (`gr.File(type="filepath")`) arrives as a path in a folder for temporary files, from which it is
  deleted within two hours. Its name is the visitor's: it is text to be escaped, and never part of a path.
- Its test walks through it in a browser: see `tests/browsing.py` and `tests/usecases/recommendation/test_demo.py`.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from shared.errors import UserError
from shared.files import read_json
from shared.records import parse, validate
from shared.serving import problems
from shared.serving.pieces import notice
from shared.serving.service import Service

LOG = logging.getLogger("usecases.serving")


class Demo:
    """A use case with a loaded model, as its page sees it."""

    def __init__(self, service: Service) -> None:
        """`service` has a model."""
        self.service = service

    @property
    def predictor(self) -> Any:
        """The loaded model, with whatever the use case's class offers beside `predict`."""
        return self.service.predictor

    @property
    def run(self) -> Path:
        """The folder of the run that made the model."""
        assert self.service.folder is not None
        return self.service.folder

    @functools.cached_property
    def about(self) -> Mapping[str, Any]:
        """The artefact's metadata: what `metadata.json` says."""
        found: Mapping[str, Any] = read_json(self.run / "artifact" / "metadata.json")
        return found

    @functools.cached_property
    def metrics(self) -> Mapping[str, Any]:
        """What metrics.json says."""
        found: Mapping[str, Any] = read_json(self.run / "metrics.json")
        return found

    def predict(self, records: Sequence[Any]) -> list[Any]:
        """One response for each request (or dict), in order.

        Raises:
            UserError: a record does not fit, or the model cannot answer it.
        """
        return self.service.predict_now(validate(self.predictor.Request, list(records), {}))


def slider(*given: Any, **named: Any) -> gr.Slider:
    """Gradio's, which counts as it began while its number is rubbed out to write another one."""
    made = gr.Slider(*given, **named)
    own = made.preprocess
    made.preprocess = lambda payload: own(made.value if payload is None else payload)  # type: ignore[method-assign]
    return made


def plain(demo: Demo) -> None:
    """The page of a use case that has none of its own: a record as JSON in, the answer as JSON out."""
    example = demo.predictor.examples()[0].model_dump(mode="json", exclude_defaults=True)
    record = gr.Code(json.dumps(example, indent=2, ensure_ascii=False), language="json", label="Record (JSON)", lines=8)
    ask = gr.Button("Predict", variant="primary")
    answer = gr.JSON(label="Answer")

    def predict(text: str) -> Any:
        return [response.model_dump(mode="json") for response in demo.predict(parse(demo.predictor.Request, text, {}))]

    ask.click(predict, record, answer)


def in_place(handler: Callable[..., str]) -> Callable[..., str]:
    """A handler that makes HTML, which says a visitor's mistake there: an answer to what was given before would mislead."""

    @functools.wraps(handler)
    def call(*given: Any) -> str:
        try:
            return handler(*given)
        except UserError as error:
            return notice(str(error), "bad")

    return call


def tell(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The same handler, a function or a generator, whose errors are shown: the visitor's mistakes with their text."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generate(*given: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from handler(*given, **named)
            except Exception as error:
                raise _shown(error) from None

        return generate

    @functools.wraps(handler)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return handler(*given, **named)
        except Exception as error:
            raise _shown(error) from None

    return call


def _shown(error: Exception) -> gr.Error:
    """What the visitor is told; a defect goes to the log instead."""
    if isinstance(error, gr.Error):
        return error
    problem = problems.of(error)
    if problem is None:
        LOG.exception("a page has a defect")
    lines = problem.detail.splitlines() if problem else ["Something went wrong here. The server's log says what."]
    return gr.Error(Markup("<br>").join(lines), duration=None, print_exception=False)
