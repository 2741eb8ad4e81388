"""Do images that a GAN draws help to train on? A protocol that says so either way.

A generator learns from the very images that a classifier has, all of the training part or few. The classifier is then trained
with none, half as many and as many drawn images beside the real ones, and judged on validation images, which nothing was trained
or chosen on. It is a network from nothing, always with the same number of steps and the usual random changes; of few images also
logistic regression on ImageNet features. Trained on drawn images alone it tells how good these are (Ravuri &
Vinyals 2019, "Classification accuracy score", section 3). Of the test part nothing is used, but that training images
which are nearly the same as one in it are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shared import hardware
from shared.config import Training, resolve
from shared.data import rows
from shared.errors import UserError
from shared.evaluation.classification import Ranked
from shared.evaluation.intervals import Interval, bootstrap_groups, t_mean
from shared.evaluation.temperature import Temperature
from shared.files import whole
from shared.hardware import Choice, channels_last
from shared.models.gan import Discriminator, Generator
from shared.runs import Run, runs_root
from shared.training import fit
from shared.training.adversarial import Adversarial, fit_generator
from usecases.medical_imaging import data, overlay
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.finder import as_batch
from usecases.medical_imaging.fitting import look_through
from usecases.medical_imaging.frozen import Frozen
from usecases.medical_imaging.network import Model, Objective, build, class_weights
from usecases.medical_imaging.packing import Changes, Packed
from usecases.medical_imaging.predictor import NAME
from usecases.medical_imaging.prepare import Prepared

SIZE = 32  # pixels
FEW = 200  # training images, where drawn ones have their best chance
WIDTHS = (128, 64, 32)  # of the generator; of the discriminator in reverse
GAN = Adversarial()
STEPS = 300  # of a network
STRENGTH = 0.2  # C of logistic regression times the number of images
CLASSIFIER = Model(
    backbone="residual",
    size=SIZE,
    widths=(32, 64, 128),
    blocks=(2, 2, 2),
    smoothing=0.0,
    training=Training(epochs=1, batch_size=32, learning_rate=1e-3, weight_decay=0.01, average=0.98),
)
WITHOUT, ALONE = "real images alone", "drawn images alone"
BESIDE = {"half as many drawn beside": 0.5, "as many drawn beside": 1.0}  # shares of the real ones
LEVEL = 0.95
RESAMPLES = 1000
SHOWN = 12  # images of a class in a picture
METRICS = {"roc_auc": 1, "log_loss": -1}  # whether more is better


@dataclass(frozen=True)
class Pool:
    """Images uint8 [n, side, side] or [n, side, side, 3] and their labels int64 [n]."""

    images: np.ndarray
    labels: np.ndarray

    def plus(self, other: Pool, share: float) -> Pool:
        """With so many of the other's images, as a share of the own."""
        count = round(share * len(self.labels))
        together = zip((self.images, self.labels), (other.images, other.labels), strict=True)
        return Pool(*(np.concatenate([own, its[:count]]) for own, its in together))


def augmentation(folder: Path | None, seeds: Sequence[int], log: Callable[[str], None]) -> dict[str, Any]:
    """Compare classifiers trained with and without images that a GAN drew.

    A seed has its own few images, generator and classifiers. Differences are paired by seed and image; their intervals hold what
    other seeds and other images would change.
    """
    if folder is None or not folder.exists():
        raise UserError("This needs the folder or file of PneumoniaMNIST: --data DIR, or `usecases data get pneumoniamnist`")
    if len(seeds) < 2:
        raise UserError("How much chance changes cannot be told from one seed. Give at least --seeds 2.")
    config = resolve(MedicalConfig, [], [f"data.source={folder}"])
    chip = hardware.select(config.hardware)
    cases = data.load(config, SIZE, chip.threads)
    rarest = int(np.bincount(cases.train.labels, minlength=len(cases.classes)).min())
    if len(cases.train) < FEW + len(cases.classes) or rarest < 2:
        least = f"{FEW + len(cases.classes)} training images, and 2 of each class"
        raise UserError(f"{folder} has {len(cases.train):,} training images, {rarest} of the rarest class; this needs {least}.")
    begun, found = time.monotonic(), {}
    for amount, count, methods in ((f"{FEW} images", FEW, METHODS), ("all images", len(cases.train), METHODS[:1])):
        logits: dict[str, dict[str, list[np.ndarray]]] = {}
        for seed in seeds:
            real = some(cases.train, count, seed)
            drawn = draw(real, len(cases.classes), chip, seed)
            if seed == seeds[0]:
                place = runs_root() / NAME / "augmentation" / f"drawn-from-{amount.replace(' ', '-')}.png"
                show(place, real, drawn)
                log(f"{place}: of each class a row of drawn images and a row of real ones")
            pools = {WITHOUT: real, **{name: real.plus(drawn, share) for name, share in BESIDE.items()}, ALONE: drawn}
            for title, method in methods:
                regime = logits.setdefault(f"{amount}, {title}", {name: [] for name in pools})
                for name, pool in pools.items():
                    regime[name].append(method(pool, len(cases.classes), cases.validation, chip, seed))
                aucs = ", ".join(f"{name} {_auc(cases.validation.labels, told[-1]):.4f}" for name, told in regime.items())
                log(f"{amount}, {title}, seed {seed}: AUC of {aucs}")
        for name, regime in logits.items():
            found[name] = compare({one: np.stack(told) for one, told in regime.items()}, cases.validation.labels)
    parts = f"{len(cases.train):,} training images, or {FEW} of them; judged on {len(cases.validation):,} of validation"
    return {
        "usecase": NAME,
        "protocol": "augmentation",
        "split": f"{parts}; ours: {WITHOUT}",
        "seeds": list(seeds),
        "metrics": {f"{metric}, {regime}": entry for regime, own in found.items() for metric, entry in own.items()},
        "conclusion": " ".join(verdict(regime, metrics) for regime, metrics in found.items()),
        "timing": {"total_s": round(time.monotonic() - begun, 1)},
        "hardware": chip.describe(),
    }


def some(train: Prepared, count: int, seed: int) -> Pool:
    """So many of the training images, the classes in their shares."""
    places = np.arange(len(train))
    if count < len(train):
        places, _ = train_test_split(places, train_size=count, stratify=train.labels, random_state=seed)
    return Pool(train.images[places], train.labels[places])


def draw(real: Pool, classes: int, chip: Choice, seed: int) -> Pool:
    """As many images as there are real ones, of the same classes, by a generator that saw only these."""
    images, labels = as_batch(real.images), torch.from_numpy(real.labels)
    torch.manual_seed(seed)
    generator = channels_last(Generator(classes, WIDTHS, images.shape[1]))
    discriminator = channels_last(Discriminator(classes, WIDTHS[::-1], images.shape[1]))
    generator = fit_generator(generator, discriminator, images, labels, GAN, chip, seed)
    wanted = np.random.default_rng(seed).permutation(real.labels)
    drawn = generator.draw(torch.from_numpy(wanted), seed).permute(0, 2, 3, 1).numpy()
    return Pool(drawn.reshape(real.images.shape), wanted)


def network(pool: Pool, classes: int, judged: Prepared, chip: Choice, seed: int) -> np.ndarray:
    """Logits [n, classes] of the images to judge, by a network that was trained on the pool from nothing.

    It makes `STEPS` steps whatever the pool's size, so the images are laid out one pool after the other; the last weights,
    averaged, are taken, so nothing is chosen.
    """
    training = CLASSIFIER.training
    places = np.resize(np.random.default_rng(seed).permutation(len(pool.labels)), STEPS * training.batch_size)
    config = resolve(MedicalConfig)
    changed = Packed(pool.images[places], pool.labels[places], classes, changes=Changes())
    weights = class_weights(torch.bincount(torch.from_numpy(pool.labels), minlength=classes), CLASSIFIER.balance)
    torch.manual_seed(seed)
    made = build(CLASSIFIER, classes, masks=False)
    with TemporaryDirectory() as place:
        run = Run.create(NAME, config, Path(place) / "run")
        objective = Objective(weights, CLASSIFIER.smoothing)
        fit(made, objective, changed, None, training, run, chip, name="classifier", seed=seed, collate=rows.take)
    made = made.to("cpu").eval()
    with torch.no_grad():
        made.last.bias.sub_(weights.log())  # classes as often as they are, not as they were weighted
    return look_through([made], Packed(judged.images, judged.labels, classes), flips=False)["classes"].numpy()


def regression(pool: Pool, classes: int, judged: Prepared, chip: Choice, seed: int) -> np.ndarray:
    """As `network`, but by logistic regression on features of a network that never saw such images.

    How much large weights cost grows with the images, so that of twice as many it is not less.
    """
    frozen = Frozen.pretrained()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH / len(pool.labels), max_iter=300))
    model.fit(frozen(pool.images).pooled, pool.labels)
    told: np.ndarray = model.decision_function(frozen(judged.images).pooled)
    return np.stack([-told / 2, told / 2], 1) if told.ndim == 1 else told


METHODS = (("a network from nothing", network), ("ImageNet features", regression))


def compare(logits: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """For each metric the method without drawn images, the others, and the paired differences between them.

    Args:
        logits: method to [seeds, n, classes]; first the method without.
    """
    found = {}
    for metric in METRICS:
        statistics = {name: _statistics(metric, told, labels) for name, told in logits.items()}
        ones = np.ones(len(labels))
        values = {name: np.array([one(ones) for one in own]) for name, own in statistics.items()}
        means = {name: _mean_of(own) for name, own in statistics.items()}
        draws = bootstrap_groups(np.arange(len(labels)), means, resamples=RESAMPLES).draws
        ours, *others = logits
        found[metric] = {
            "model": t_mean(values[ours], low=0).as_dict(),
            "baselines": {name: t_mean(values[name], low=0).as_dict() for name in others},
            "published": {},
            "differences": {
                name: paired(values[ours] - values[name], draws[ours] - draws[name], len(labels)).as_dict() for name in others
            },
        }
    return found


def paired(by_seed: np.ndarray, by_resample: np.ndarray, images: int) -> Interval:
    """The mean difference over seeds, and Student's t interval by what varies from seed to seed and from image to image.

    The two variances add up, as those of independent causes do: seeds alone would tell nothing of other images. Its degrees
    of freedom are those of Welch (1947).

    Args:
        by_seed: [seeds] differences. by_resample: [resamples] of the images, of the mean over the seeds.
        images: how many are resampled.
    """
    variances = np.array([stats.sem(by_seed), np.nanstd(by_resample)]) ** 2
    freedom = variances.sum() ** 2 / max((variances**2 / [len(by_seed) - 1, images - 1]).sum(), 1e-300)
    half = float(stats.t.ppf((1 + LEVEL) / 2, max(freedom, 1)) * variances.sum() ** 0.5)
    mean = float(by_seed.mean())
    return Interval(mean, mean - half, mean + half)


def verdict(regime: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """In words, by the intervals alone, whether drawn images help, harm or neither, for each number of them.

    A protocol has a dozen such intervals of 95%: that one of them excludes 0 by chance is not unlikely.
    """
    told = []
    for name in BESIDE:
        better, worse = [], []
        for metric, sign in METRICS.items():
            difference = metrics[metric]["differences"][name]  # of the method without, minus it
            low, high = sorted((-sign * difference["low"], -sign * difference["high"]))
            better += [metric] if low > 0 else []
            worse += [metric] if high < 0 else []
        outcomes = {"better": better, "worse": worse}
        clear = " and ".join(f"{word} {', '.join(those)}" for word, those in outcomes.items() if those)
        told.append(f"{name}: {clear or 'no difference that can be told from chance'}")
    return f"With {regime}, {'; '.join(told)}."


def show(path: Path, real: Pool, drawn: Pool) -> None:
    """A picture with two rows for each class: drawn images, and real ones below."""
    strips = [pool.images[pool.labels == label][:SHOWN] for label in np.unique(real.labels) for pool in (drawn, real)]
    width = min(len(strip) for strip in strips)
    picture = np.concatenate([np.concatenate(list(strip[:width]), axis=1) for strip in strips])
    with whole(path) as partial:
        partial.write_bytes(overlay.encode(picture.repeat(3, axis=0).repeat(3, axis=1)))


def _statistics(metric: str, logits: np.ndarray, labels: np.ndarray) -> list[Callable[[np.ndarray], float]]:
    """Of each seed a function of the images' weights."""
    return [_ranked(labels, own) if metric == "roc_auc" else _losses(labels, own) for own in logits]


def _ranked(labels: np.ndarray, logits: np.ndarray) -> Callable[[np.ndarray], float]:
    """The AUC of the second of two classes, or the mean over the classes, each against the rest."""
    chances = np.exp(log_softmax(logits, axis=1))
    places = (1,) if chances.shape[1] == 2 else range(chances.shape[1])
    ranked = [Ranked((labels == place).astype(int), chances[:, place]) for place in places]
    return lambda weights: float(np.mean([one.roc_auc(weights) for one in ranked]))


def _losses(labels: np.ndarray, logits: np.ndarray) -> Callable[[np.ndarray], float]:
    """The log-loss at the best temperature, as it would be after calibration."""
    scaled = Temperature.fit(logits, labels)(logits)
    losses = -np.log(np.clip(scaled[np.arange(len(labels)), labels], 1e-12, 1))
    return lambda weights: float(np.average(losses, weights=weights))


def _mean_of(own: Sequence[Callable[[np.ndarray], float]]) -> Callable[[np.ndarray], float]:
    return lambda weights: float(np.mean([one(weights) for one in own]))


def _auc(labels: np.ndarray, logits: np.ndarray) -> float:
    return _ranked(labels, logits)(np.ones(len(labels)))
