"""A model card (Mitchell et al. 2019) as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.files import write_text


def write_card(
    path: Path,
    *,
    title: str,
    summary: str,
    intended: str,
    limits: Sequence[str],
    metrics: dict[str, Any],
) -> None:
    """Write what the model is, what it is for and not for, its data and its measured quality.

    Args:
        metrics: the content of metrics.json.
    """
    model, baselines = metrics["model"], metrics["baselines"]
    header = f"| metric | {metrics['name']} | 95% interval | " + " | ".join(baselines) + " |"
    lines = [
        f"# {title}",
        summary,
        "## Intended use",
        intended,
        "## Limits",
        *(f"- {limit}" for limit in limits),
        "## Data",
        *(f"- {key}: {value}" for key, value in metrics["data"].items()),
        "## Quality",
        f"Protocol: {metrics['protocol']}.",
        "",
        header,
        "|" + " --- |" * (3 + len(baselines)),
        *(
            f"| {m} | {v['value']:.4f} | {v['low']:.4f} to {v['high']:.4f} | "
            + " | ".join(f"{b[m]['value']:.4f}" if m in b else "" for b in baselines.values())
            + " |"
            for m, v in model.items()
        ),
        "",
        metrics["conclusion"],
        "## Made with",
        *(f"- {key}: {value}" for key, value in metrics["hardware"].items()),
        f"- seed: {metrics['seed']}",
    ]
    write_text(path, "\n".join(lines) + "\n")
