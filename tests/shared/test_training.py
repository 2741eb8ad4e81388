from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from shared.config import Hardware, RunConfig, Training
from shared.errors import UserError
from shared.hardware import channels_last, leave, select
from shared.runs import Run
from shared.training import Validation, fit, loop


class Points(Dataset[torch.Tensor]):
    """Noisy points on a line, each with its number: x, y, n."""

    def __init__(self, count: int) -> None:
        rng = torch.Generator().manual_seed(count)
        x = torch.randn(count, 1, generator=rng)
        self.rows = torch.cat([x, 3 * x + 0.1 * torch.randn(count, 1, generator=rng), torch.arange(count).view(-1, 1)], 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.rows[i]


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def convolution() -> nn.Module:
    torch.manual_seed(1)
    shaped = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(0.2), nn.Unflatten(1, (4, 2, 2)))
    return channels_last(nn.Sequential(shaped, nn.Conv2d(4, 3, 2), nn.Flatten(), nn.Linear(3, 1)))


def objective(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    output = model(batch[:, :1])
    return {"loss": (output - batch[:, 1:2]).square().mean(), "output": output}


def judge(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return -(model(batch[:, :1]) - batch[:, 1:2]).square()[:, 0]


def train(run: Run, model: nn.Module, goal: Any = objective, **changes: Any) -> Any:
    config = Training(epochs=5, batch_size=16, learning_rate=0.02).model_copy(update=changes)
    validation = Validation(Points(37), judge, "negative squared error")
    return fit(
        model, goal, Points(100), validation, config, run, select(Hardware(device="cpu", precision="fp32")), name="net", seed=4
    )


@pytest.mark.parametrize(("make", "average"), [(network, 0.0), (network, 0.9), (convolution, 0.9)])
def test_a_stopped_training_ends_in_the_same_weights(tmp_path: Path, make: Callable[[], nn.Module], average: float) -> None:
    whole = make()
    unbroken = train(Run(tmp_path / "whole", "t"), whole, average=average)

    calls = 0

    def stops_in_the_third_epoch(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 2 * 7 + 4:
            raise KeyboardInterrupt
        return objective(model, batch)

    run = Run(tmp_path / "broken", "t")
    with pytest.raises(KeyboardInterrupt):
        train(run, make(), stops_in_the_third_epoch, average=average)
    resumed = make()
    torch.manual_seed(99)  # whatever happened to the generator meanwhile
    again = train(run, resumed, average=average)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert [h["metric"] for h in again.history] == [h["metric"] for h in unbroken.history]
    assert '"resumed"' in (run.folder / "events.jsonl").read_text()


def test_it_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    model = network()
    fitted = train(Run(tmp_path, "t"), model)
    best = max(fitted.history, key=lambda h: h["metric"])
    assert (fitted.best_metric, fitted.best_epoch) == (best["metric"], best["epoch"])
    with torch.no_grad():
        assert judge(model, Points(37).rows).mean().item() == pytest.approx(fitted.best_metric, rel=1e-5)
    assert fitted.history[-1]["loss"] < 0.6 * fitted.history[0]["loss"]


def test_the_average_keeps_batch_statistics_and_channels_last_is_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (1, 1, 1)), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))
    train(Run(tmp_path, "t"), model.to(memory_format=torch.channels_last), average=0.9)
    assert model[2].running_mean.abs().sum() > 0


def test_fits_of_different_precision_follow_each_other_and_leave_plain_models(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16", "fp32"):
        model, config = network(), Training(epochs=1, batch_size=50)
        chip = select(Hardware(device="cpu", precision=precision))  # type: ignore[arg-type]
        fit(model, objective, Points(100), None, config, Run(tmp_path / precision, "t"), chip, name=precision, seed=1)
        assert model(torch.randn(3, 1)).dtype == torch.float32
        assert "autocast" not in repr(getattr(model.forward, "__wrapped__", ""))


def test_parts_of_a_model_learn_at_their_own_rates(tmp_path: Path) -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    first, last = model[0], model[3]  # type: ignore[index]
    groups = [{"params": list(first.parameters()), "times": 0}, {"params": list(last.parameters()), "times": 2}]
    config = Training(epochs=1, batch_size=16, learning_rate=0.02)
    chip = select(Hardware(device="cpu", precision="fp32"))
    fit(model, objective, Points(100), None, config, Run(tmp_path / "run", "t"), chip, name="net", seed=4, groups=groups)
    after = list(model.parameters())
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[2], after[2])


def test_patience_stops_early(tmp_path: Path) -> None:
    fitted = train(Run(tmp_path, "t"), network(), learning_rate=1e-9, patience=2, epochs=50, average=0.0)
    assert fitted.epochs == fitted.best_epoch + 2


def test_a_training_that_diverged_ends_with_an_error(tmp_path: Path) -> None:
    def overflows(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        found = objective(model, batch)
        return {**found, "loss": found["loss"] * float("inf")}

    with pytest.raises(
        UserError, match=r"loss of net is not finite after epoch 1: lower its training\.learning_rate, which is 0\.02"
    ):
        train(Run(tmp_path, "t"), network(), overflows)
    assert not Run(tmp_path, "t").discard()


def test_the_rate_rises_then_falls_as_a_cosine() -> None:
    rates = [loop._rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)


def test_events_and_tensorboard_are_written(tmp_path: Path) -> None:
    run = Run.create("t", RunConfig(tensorboard=True), tmp_path / "run")
    train(run, network(), epochs=1)
    assert '"event": "epoch"' in (run.folder / "events.jsonl").read_text()
    assert list((run.folder / "tensorboard" / "net").glob("events*"))


def test_two_processes_see_each_row_once(tmp_path: Path) -> None:
    """`accelerate launch` with gloo: validation counts every row once, and both ranks end in the same weights."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", __file__, str(tmp_path)]
    where = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # of an abort it tells where
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False, env=where)
    assert done.returncode == 0, done.stderr  # all of it: the launcher's own traceback comes after what a rank said
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert ranks[0]["mean"] == sum(range(37)) / 37  # padding rows would shift it
    assert torch.equal(ranks[0]["weights"], ranks[1]["weights"])
    assert ranks[0]["metric"] == ranks[1]["metric"]
    alone = train(Run(tmp_path / "alone", "t"), network(), epochs=20)
    assert ranks[0]["metric"] == pytest.approx(alone.best_metric, abs=0.2)


def _as_one_of_two(folder: Path) -> None:
    from accelerate import Accelerator

    model, rank = network(), Accelerator(cpu=True).process_index
    fitted = train(Run(folder / f"run{rank}", "t", is_main=rank == 0), model, epochs=20, batch_size=8)  # 16 in all
    numbers = Validation(Points(37), lambda _, batch: batch[:, 2], "n")
    counted = fit(network(), objective, Points(50), numbers, Training(epochs=1, batch_size=8), Run(folder / f"n{rank}", "t",
                  is_main=rank == 0), select(Hardware(device="cpu", precision="fp32")), name="n", seed=1)  # fmt: skip
    weights = torch.cat([weight.flatten() for weight in model.state_dict().values()])
    torch.save({"mean": counted.best_metric, "weights": weights, "metric": fitted.best_metric}, folder / f"rank{rank}.pt")
    leave()


def test_where_there_is_no_terminal_lines_tell_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "LINE_S", 0)
    train(Run.create("toy", RunConfig(), tmp_path / "run"), network(), epochs=2)
    said = capfd.readouterr().err
    assert "net 3 of 14 steps, loss " in said
    assert "net ended after 14 steps, best epoch 2" in said


if __name__ == "__main__":
    _as_one_of_two(Path(sys.argv[1]))
