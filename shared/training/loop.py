"""The training loop: any module, any objective, on Accelerate, from one CPU to many GPUs with the same code."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.utils.data import DataLoader, Dataset

from shared.config import Training
from shared.errors import UserError
from shared.hardware import Choice, keep_memory
from shared.runs import Run
from shared.training import checkpoints

LINE_S = 30  # seconds between lines of progress, where there is no bar

Batch = Any
Collate = Callable[[list[Any]], Batch]


class Objective(Protocol):
    """What is minimised. It sees one batch and knows nothing of epochs."""

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """At least {"loss": scalar, "output": what the model gave}."""
        ...


@dataclass(frozen=True)
class Validation:
    """What decides which epoch is best: the mean over `data` of `judge(model, batch)`, one value an example, higher is better."""

    data: Dataset[Any]
    judge: Callable[[nn.Module, Batch], torch.Tensor]
    metric: str


@dataclass(frozen=True)
class Fitted:
    """How a training went. The model that was passed in holds the best weights."""

    epochs: int
    best_epoch: int
    best_metric: float | None
    seconds: float
    examples_per_s: float
    history: list[dict[str, float]]


def fit(
    model: nn.Module,
    objective: Objective,
    data: Dataset[Any],
    validation: Validation | None,
    config: Training,
    run: Run,
    hardware: Choice,
    *,
    name: str,
    seed: int,
    collate: Collate | None = None,
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> Fitted:
    """Train `model` in place and leave the best weights in it (without validation, the last ones).

    With `config.average` it is a running average of the weights that is judged and kept.

    A checkpoint is written after each epoch to `run.checkpoint_dir(name)`. Where one exists, training goes on from it
    and ends in the same weights as if it had never stopped: shuffling and dropout are seeded by (seed, epoch, rank).
    Parts of the model may learn at other rates: `groups` are {"params": parameters, "times": of the learning rate}.
    """
    started = time.monotonic()
    torch.manual_seed(seed)
    keep_memory()
    accelerator = accelerator_for(hardware, seed)
    optimizer = _optimizer(model.parameters() if groups is None else [dict(group) for group in groups], config)
    loader = DataLoader(data, config.batch_size, shuffle=True, collate_fn=collate)
    kept = copy.deepcopy(model).to(accelerator.device) if config.average else model
    net, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    judge = _judge(accelerator, kept, validation, config, collate)
    path = run.checkpoint_dir(name) / "state.safetensors"
    best, progress = _resume(path, model, kept, optimizer)
    run.event("resumed" if progress["epoch"] else "begun", fit=name, epoch=progress["epoch"])
    total = config.epochs * len(loader)
    with _progress(accelerator, run, name, progress["epoch"] * len(loader), total) as (tell, end):
        while not progress["done"]:
            epoch = progress["epoch"]
            torch.manual_seed(hash((seed, epoch, accelerator.process_index)) % 2**63)
            loader.iteration = epoch
            step = _Step(accelerator, net, kept, objective, optimizer, config, epoch * len(loader), total)
            entry = {"epoch": epoch + 1, **step.epoch(loader, tell)}
            _stop_if_diverged(accelerator, entry, name, config)
            if judge is not None:
                entry["metric"] = judge()
            progress = _advance(progress, entry, config)
            if progress["best_epoch"] == epoch + 1:
                best = {k: v.detach().clone() for k, v in kept.state_dict().items()}
            progress["done"] = _on_any(accelerator, progress["done"])
            if accelerator.is_main_process:
                parts = {"weights": model.state_dict(), "average": kept.state_dict(), "best": best}
                checkpoints.save(path, parts, optimizer, progress)
            run.scalars(name, epoch + 1, entry)
        end(f"best epoch {progress['best_epoch']}")
    accelerator.unwrap_model(net, keep_fp32_wrapper=False)  # the caller's model computes as it is, not in autocast
    model.load_state_dict(best)
    model.to(accelerator.device).eval()
    return _fitted(progress, time.monotonic() - started)


def _optimizer(parameters: Any, config: Training) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _fitted(progress: dict[str, Any], seconds: float) -> Fitted:
    history = progress["history"]
    rate = sum(entry["examples_per_s"] for entry in history) / len(history)
    return Fitted(progress["epoch"], progress["best_epoch"], progress["best_metric"], seconds, rate, history)


def accelerator_for(hardware: Choice, seed: int) -> Accelerator:
    """Accelerate, set to this device and precision, whatever they were before in this process."""
    precision = "bf16" if hardware.precision == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # else a second fit could not have another precision
    return Accelerator(
        cpu=hardware.device == "cpu",
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
    )


class _Step:
    """One optimizer step: forward, backward, clip, the learning rate of this step, update."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        kept: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        config: Training,
        first: int,
        total: int,
    ) -> None:
        self.accelerator, self.model, self.objective, self.optimizer = accelerator, model.train(), objective, optimizer
        self.kept: list[torch.Tensor] = [*kept.parameters()]
        self.live: list[torch.Tensor] = [*accelerator.unwrap_model(model).parameters()]
        self.buffers = list(zip(kept.buffers(), accelerator.unwrap_model(model).buffers(), strict=True))
        self.config, self.first, self.total = config, first, total
        self.taken, self.begun = 0, time.monotonic()

    def __call__(self, batch: Batch) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            rate = _rate(self.first + self.taken, self.total, self.config.warmup)
            group["lr"] = self.config.learning_rate * rate * group.get("times", 1.0)
        with self.accelerator.autocast():
            loss = self.objective(self.model, batch)["loss"]
        self.accelerator.backward(loss)
        if self.config.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken += 1
        if self.config.average:
            with torch.no_grad():
                done = self.first + self.taken
                torch._foreach_lerp_(self.kept, self.live, 1 - min(self.config.average, done / (done + 10)))
                for ours, theirs in self.buffers:
                    ours.copy_(theirs)
        return loss.detach()

    def epoch(self, loader: Any, tell: Callable[[str], None]) -> dict[str, float]:
        """A step for each batch, each told with the mean loss and speed so far; returns the epoch's numbers."""
        losses = torch.zeros((), device=self.accelerator.device)
        for batch in loader:
            losses += self(batch)
            speed = self.taken / (time.monotonic() - self.begun)
            tell(f"loss {losses.item() / self.taken:.3f}, {speed:,.1f} steps/s")
        seconds = time.monotonic() - self.begun
        return {"loss": losses.item() / self.taken, "seconds": seconds, "examples_per_s": len(loader.dataset) / seconds}


def _stop_if_diverged(accelerator: Accelerator, entry: dict[str, float], name: str, config: Training) -> None:
    """On all ranks, if on one of them the loss is not finite."""
    if _on_any(accelerator, not math.isfinite(entry["loss"])):
        fix = f"lower its training.learning_rate, which is {config.learning_rate:g}"  # below model, or model.vae
        raise UserError(f"The loss of {name} is not finite after epoch {entry['epoch']}: {fix}.")


def _on_any(accelerator: Accelerator, here: bool) -> bool:
    """Whether it holds on any of the ranks."""
    if here:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def _rate(step: int, total: int, warmup: float) -> float:
    """Linear rise over the first `warmup` of the steps, then a cosine to zero; a share of the peak rate."""
    rise = max(1, round(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _judge(
    accelerator: Accelerator, model: nn.Module, validation: Validation | None, config: Training, collate: Collate | None
) -> Callable[[], float] | None:
    """What gives the validation metric of the model as it then is; None: there is nothing to judge on."""
    if validation is None or not len(validation.data):  # type: ignore[arg-type]
        return None
    loader = accelerator.prepare(DataLoader(validation.data, config.batch_size, collate_fn=collate))

    @torch.no_grad()
    def judge() -> float:
        model.eval()
        values = [accelerator.gather_for_metrics(validation.judge(model, batch)) for batch in loader]
        return torch.cat(values).mean().item()

    return judge


def _advance(progress: dict[str, Any], entry: dict[str, float], config: Training) -> dict[str, Any]:
    """The progress after an epoch: is it the best, and is it the last?"""
    epoch, metric = int(entry["epoch"]), entry.get("metric")
    better = metric is None or progress["best_metric"] is None or metric > progress["best_metric"]
    best_epoch = epoch if better else progress["best_epoch"]
    waited = epoch - best_epoch
    return {
        "epoch": epoch,
        "best_epoch": best_epoch,
        "best_metric": metric if better else progress["best_metric"],
        "done": epoch == config.epochs or bool(config.patience and waited >= config.patience),
        "history": [*progress["history"], entry],
    }


def _resume(path: Path, model: nn.Module, kept: nn.Module, optimizer: Any) -> tuple[checkpoints.Weights, dict[str, Any]]:
    """The best weights and the progress of the checkpoint, from which the rest is set; without one, those of the start."""
    if not path.exists():
        return {}, {"epoch": 0, "best_epoch": 0, "best_metric": None, "done": False, "history": []}
    parts, slots, progress = checkpoints.load(path)
    kept.load_state_dict(parts["average"])
    model.load_state_dict(parts["weights"])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    for weight, slot in optimizer.state.items():  # fused AdamW takes numbers as they lie: they must lie like the weight's
        slot |= {name: torch.empty_like(weight).copy_(own) for name, own in slot.items() if own.shape == weight.shape}
    return parts["best"], progress


@contextmanager
def _progress(
    accelerator: Accelerator, run: Run, name: str, done: int, total: int
) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """What tells of a step that was made, and of the end: by a bar, or where stderr is no terminal by a line now and then."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("  {task.description:<12}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not (accelerator.is_local_main_process and console.is_terminal),
    ) as bar:
        task = bar.add_task(name, total=total, completed=done, note="")
        said = time.monotonic()

        def tell(note: str) -> None:
            nonlocal done, said
            done += 1
            bar.update(task, advance=1, note=note)
            if not console.is_terminal and time.monotonic() - said >= LINE_S:
                said = time.monotonic()
                run.say(f"  {name} {done:,} of {total:,} steps, {note}")

        def end(note: str) -> None:
            bar.update(task, completed=total, note=note)
            if not console.is_terminal:
                run.say(f"  {name} ended after {done:,} steps, {note}")

        yield tell, end
