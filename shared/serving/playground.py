"""Use cases' Gradio pages: built when their model is there, served below the frame's own addresses."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from markupsafe import Markup
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from shared.serving.demo import Demo, plain, tell
from shared.serving.service import Service

KEPT_S = 3600  # files of visitors are looked through as often, and deleted when they are as old
AT_ONCE = 4  # calls of one handler; more visitors wait their turn
FONT = ("system-ui", "Segoe UI", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Gradio's plain theme in the frame's colours, which change with light and dark by themselves; fonts of the system."""
    colours = {
        "body_background_fill": "var(--paper)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--soft)",
        "background_fill_primary": "var(--paper)",
        "background_fill_secondary": "var(--wash)",
        "block_background_fill": "var(--paper)",
        "block_border_color": "var(--line)",
        "block_label_background_fill": "var(--paper)",
        "block_label_text_color": "var(--soft)",
        "block_title_text_color": "var(--ink)",
        "block_info_text_color": "var(--soft)",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "color_accent": "var(--accent)",
        "color_accent_soft": "var(--wash)",
        "link_text_color": "var(--accent)",
        "link_text_color_hover": "var(--accent)",
        "link_text_color_visited": "var(--accent)",
        "input_background_fill": "var(--paper)",
        "input_border_color": "var(--edge)",
        "input_border_width": "1px",
        "input_border_color_focus": "var(--accent)",
        "input_placeholder_color": "var(--soft)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent)",
        "button_primary_text_color": "var(--paper)",
        "button_secondary_background_fill": "var(--wash)",
        "button_secondary_background_fill_hover": "var(--line)",
        "button_secondary_text_color": "var(--ink)",
        "button_secondary_border_color": "var(--edge)",
        "checkbox_background_color": "var(--paper)",
        "checkbox_background_color_selected": "var(--accent)",
        "checkbox_border_color": "var(--edge)",
        "checkbox_border_color_selected": "var(--accent)",
        "checkbox_label_background_fill": "var(--wash)",
        "checkbox_label_background_fill_hover": "var(--line)",
        "checkbox_label_background_fill_selected": "var(--wash)",
        "checkbox_label_text_color": "var(--ink)",
        "checkbox_label_text_color_selected": "var(--ink)",
        "checkbox_label_border_color": "var(--line)",
        "checkbox_label_border_color_selected": "var(--accent)",
        "slider_color": "var(--accent)",
        "table_text_color": "var(--ink)",
        "table_border_color": "var(--line)",
        "table_even_background_fill": "var(--paper)",
        "table_odd_background_fill": "var(--wash)",
    }
    both = {f"{name}{mode}": colour for name, colour in colours.items() for mode in ("", "_dark")}
    known = {name: colour for name, colour in both.items() if hasattr(gr.themes.Base(), name)}
    return gr.themes.Base(primary_hue="blue", neutral_hue="slate", radius_size="md", font=FONT, font_mono=MONO).set(**known)


def build(service: Service, head: Markup) -> FastAPI:
    """The page as an app of its own. Takes a second or so, the first time more, so call it in a thread."""
    warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)  # Gradio's own, each time
    with gr.Blocks(title=service.usecase.title, analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as blocks:
        gr.HTML(head, padding=False, elem_id="head")
        (service.usecase.demo or plain)(Demo(service))
    for function in blocks.fns.values():
        if function.fn:
            function.fn = tell(function.fn)
    blocks.queue(default_concurrency_limit=AT_ONCE)
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        blocks,
        "/",
        theme=theme(),
        head='<link rel="stylesheet" href="../style.css">',  # Gradio would rewrite what it is given as CSS
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=service.settings.body_bytes,
        ssr_mode=False,
    )


class Playground:
    """ASGI app: the Gradio page of a service that has a model. Built at its first request, and again for another run."""

    def __init__(self, service: Service, head: Callable[[], Markup]) -> None:
        """`head`: what stands above the page."""
        self.service, self.head = service, head
        self._made: tuple[Path, FastAPI] | None = None
        self._lock = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._app())(scope, receive, send)

    async def close(self) -> None:
        """End its queues; visitors who are still there lose their page."""
        await self._open.aclose()

    async def _app(self) -> FastAPI:
        folder = self.service.folder
        assert folder is not None  # it has a model
        async with self._lock:
            if self._made is None or self._made[0] != folder:
                app = await run_in_threadpool(lambda: build(self.service, self.head()))
                await self._open.enter_async_context(app.router.lifespan_context(app))
                self._made = folder, app
            return self._made[1]
