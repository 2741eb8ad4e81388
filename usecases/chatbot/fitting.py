"""Fitting the classifier: its candidates, what validation says of them, their blend, and what lies outside.

Validation is not lost for training: with several networks each leaves another part of it out, and is judged on that part.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax
from tokenizers import Tokenizer
from torch.nn import functional as F

from shared.data import rows
from shared.errors import UserError
from shared.hardware import Choice
from shared.models.recurrent import BiLSTM
from shared.models.transformer import Bert
from shared.pretrained import embed, tokenise
from shared.runs import Run
from shared.training import fit as train
from usecases.chatbot import outside
from usecases.chatbot.classifier import IntentClassifier, pool, quick, shape_of
from usecases.chatbot.config import Understanding
from usecases.chatbot.corpus import Examples
from usecases.chatbot.linear import Linear, Tfidf
from usecases.chatbot.network import NONE, IntentNetwork, Messages, Objective, build, class_means
from usecases.chatbot.outside import Outside, Space

LEAST_GAIN = 0.01  # share of the log-loss that a dearer blend must save to be kept
SELF_EPOCHS = 2  # over unlabelled messages
SELF_SHARPNESS = 2.0  # of a teacher's log-probabilities
SELF_FROZEN = 0.7  # weight of the frozen encoder's in them
COST = {"tfidf": 1, "frozen": 2, "network": 4}  # of a part, roughly; only their order matters


class Part(NamedTuple):
    """Examples as the networks see them; labels [n] are numbers of intents or `NONE`, targets [n, intents]."""

    texts: list[str]
    tokens: list[list[int]]
    labels: torch.Tensor
    targets: torch.Tensor

    def take(self, chosen: torch.Tensor) -> Part:
        places = chosen.tolist()
        return Part([self.texts[i] for i in places], [self.tokens[i] for i in places], self.labels[chosen], self.targets[chosen])

    def plus(self, other: Part) -> Part:
        labels, targets = torch.cat([self.labels, other.labels]), torch.cat([self.targets, other.targets])
        return Part(self.texts + other.texts, self.tokens + other.tokens, labels, targets)

    @property
    def known(self) -> Part:
        """Those about an intent."""
        return self.take(torch.nonzero(self.labels != NONE)[:, 0])


def fit(
    config: Understanding,
    training: Examples,
    validation: Examples,
    run: Run,
    chip: Choice,
    seed: int,
    *,
    outsiders: Sequence[str] = (),
    unlabelled: Sequence[str] = (),
) -> tuple[IntentClassifier, dict[str, Any]]:
    """
    Args:
        outsiders: general messages about no intent, beside those of the parts; half of them for training.
        unlabelled: messages for self-training: networks learn from what they, together, said of them (Scudder 1965). As each
            then knows of the others' validation, that flatters them: probabilities come out too sure.

    Returns:
        The classifier, and the figures of validation: `candidates`, `weights` and `outside`.

    Raises:
        UserError: there are fewer than two intents, no validation or one with other intents, or the encoder's weights are not
            to be had.
    """
    intents = tuple(sorted({label for label in training.labels if label}))
    if len(intents) < 2 or not any(validation.labels):
        raise UserError(f"A classifier needs two intents and validation messages about them; there are {len(intents)} intents.")
    if strange := {*validation.labels} - {*intents, ""}:
        raise UserError(f"Validation holds intents that training does not: {', '.join(sorted(strange))}.")
    tokenizer, body = build(config, training.texts)
    numbers = {name: number for number, name in enumerate(intents)}

    def part(texts: Sequence[str], labels: Sequence[str]) -> Part:
        codes = torch.tensor([numbers[label] if label else NONE for label in labels], dtype=torch.long)
        return Part(list(texts), tokenise(tokenizer, texts, config.max_tokens), codes, _targets(codes, len(intents)))

    learnt = part([*training.texts, *outsiders[::2]], [*training.labels, *[""] * len(outsiders[::2])])
    judged = part([*validation.texts, *outsiders[1::2]], [*validation.labels, *[""] * len(outsiders[1::2])])
    if config.names:
        learnt = learnt.plus(part([name.replace("_", " ") for name in intents], intents))
    fold = torch.randperm(len(judged.texts), generator=torch.Generator().manual_seed(seed)) % config.members
    seen = [
        learnt.plus(judged.take(torch.nonzero(fold != own)[:, 0])) if config.members > 1 else learnt
        for own in range(config.members)
    ]
    course = _Course(config, run, chip)
    networks = [course.first(body, own, seed + 1000 * m, f"network-{m + 1}") for m, own in enumerate(seen)]
    if unlabelled:
        taught = _taught(networks, body, learnt.known, list(unlabelled), tokenise(tokenizer, unlabelled, config.max_tokens))
        pairs = enumerate(zip(networks, seen, strict=True))
        networks = [
            course.again(network, own.plus(taught), seed + 1000 * m, f"network-{m + 1}-again") for m, (network, own) in pairs
        ]
    return _assemble(config, intents, tokenizer, body, networks, learnt, judged, seen, fold, seed)


def _targets(labels: torch.Tensor, intents: int) -> torch.Tensor:
    """[n, intents]: the intent; of messages about none all alike (outlier exposure, Hendrycks et al. 2019)."""
    known = F.one_hot(labels.clamp(min=0), intents).float()
    return torch.where((labels == NONE)[:, None], torch.full_like(known, 1 / intents), known)


class _Course(NamedTuple):
    """What all networks' trainings have in common."""

    config: Understanding
    run: Run
    chip: Choice

    def first(self, body: Bert | BiLSTM, part: Part, seed: int, name: str) -> IntentNetwork:
        """A network on a copy of the body, its intents starting where the encoder already sees their messages."""
        torch.manual_seed(seed)
        count, own = part.targets.shape[1], copy.deepcopy(body)
        network = IntentNetwork(own, own.words.embedding_dim, count, self.config.scale)
        if isinstance(body, Bert):
            known = part.known
            vectors = outside.unit(embed(quick(body), known.tokens))
            network.intents.data.copy_(class_means(vectors, known.labels, count))
        least = math.ceil(self.config.steps / math.ceil(len(part.texts) / self.config.course.batch_size))
        return self._train(network, part, self.config.contrast, max(self.config.course.epochs, least), seed, name)

    def again(self, network: IntentNetwork, part: Part, seed: int, name: str) -> IntentNetwork:
        """The network after more training, on what was taught."""
        return self._train(network, part, 0.0, SELF_EPOCHS, seed, name)

    def _train(self, network: IntentNetwork, part: Part, contrast: float, epochs: int, seed: int, name: str) -> IntentNetwork:
        training = self.config.course.model_copy(update={"epochs": epochs})
        data = Messages(part.tokens, part.labels, part.targets)
        objective = Objective(self.config.smoothing, contrast)
        train(network, objective, data, None, training, self.run, self.chip, name=name, seed=seed, collate=rows.take)
        return network.to("cpu")


def _taught(
    networks: Sequence[IntentNetwork], body: Bert | BiLSTM, learnt: Part, texts: list[str], tokens: list[list[int]]
) -> Part:
    """Unlabelled messages with what the networks, and a linear model on the frozen encoder, say of them as targets.

    A target is the less the less sure they are.
    """
    with torch.no_grad():
        logs = [network.logits(outside.unit(embed(quick(network.body), tokens))).log_softmax(1) for network in networks]
    mixed = torch.stack(logs).mean(0)
    if isinstance(body, Bert):
        before = quick(body)
        old, new = (outside.unit(embed(before, some)).numpy() for some in (learnt.tokens, tokens))
        mixed += SELF_FROZEN * torch.from_numpy(Linear.fit(old, learnt.labels.numpy())(new)).log_softmax(1)
    likely = (SELF_SHARPNESS * mixed).softmax(1)
    surest, labels = likely.max(1)
    return Part(texts, tokens, labels, likely * surest[:, None])


def _assemble(
    config: Understanding,
    intents: tuple[str, ...],
    tokenizer: Tokenizer,
    body: Bert | BiLSTM,
    networks: list[IntentNetwork],
    learnt: Part,
    judged: Part,
    seen: list[Part],
    fold: torch.Tensor,
    seed: int,
) -> tuple[IntentClassifier, dict[str, Any]]:
    """What validation says of the parts; those that pay, fitted on everything."""
    shape = shape_of(body)
    ready = []
    for network in networks:
        one = IntentNetwork(quick(network.body), network.intents.shape[1], len(intents), config.scale)
        one.intents.data.copy_(network.intents.data)
        ready.append(one.eval().requires_grad_(False))
    spaces = [_space(network.body, part, len(intents), seed) for network, part in zip(ready, seen, strict=True)]
    vectors = torch.stack([outside.unit(embed(network.body, judged.tokens)) for network in ready])
    own = vectors[fold, torch.arange(len(fold))]  # each message as seen by the network that has not learnt it
    logits = torch.stack([network.logits(each) for network, each in zip(ready, vectors, strict=True)])[
        fold, torch.arange(len(fold))
    ]
    parts = {"network": logits.numpy()}
    known, everything = learnt.known, learnt.plus(judged).known
    words = Tfidf.fit(known.texts)
    parts["tfidf"] = Linear.fit(words(known.texts), known.labels.numpy())(words(judged.texts))
    scores = _scores(spaces, fold, own)
    before = quick(body)
    if isinstance(body, Bert):
        old, new = outside.unit(embed(before, known.tokens)), outside.unit(embed(before, judged.tokens))
        parts["frozen"] = Linear.fit(old.numpy(), known.labels.numpy())(new.numpy())

    inside = (judged.labels != NONE).numpy()
    weights, figures = choose_weights(
        {name: part[inside] for name, part in parts.items()}, judged.labels.numpy()[inside], config.blend
    )
    scores |= outside.of_logits(logits, log_softmax(pool(parts, weights), 1))
    rejection, aucs = Outside.fit(
        {name: score[inside] for name, score in scores.items()},
        {name: score[~inside] for name, score in scores.items()},
        config.outside_share,
    )
    made = IntentClassifier(intents, tokenizer, config.max_tokens, shape, ready, weights, spaces=spaces, outside=rejection)
    if "frozen" in weights:
        both = torch.cat([old, new[torch.from_numpy(inside)]]).numpy()
        made.frozen = (before, Linear.fit(both, everything.labels.numpy()))
    if "tfidf" in weights:
        made.tfidf = (words, Linear.fit(words(everything.texts), everything.labels.numpy()))
    return made, {"candidates": figures, "weights": weights, "outside": aucs, "rejection": rejection.settings}


def _space(body: torch.nn.Module, part: Part, intents: int, seed: int) -> Space:
    known = part.known
    kept = torch.randperm(len(known.texts), generator=torch.Generator().manual_seed(seed))[: outside.BANK]
    some = known.take(kept)
    return Space.fit(outside.unit(embed(body, some.tokens)), some.labels, intents, seed)


def _scores(spaces: Sequence[Space], fold: torch.Tensor, vectors: torch.Tensor) -> dict[str, np.ndarray]:
    """Scores of vectors [n, dim], each in the space of its network, `fold` [n]."""
    made: dict[str, np.ndarray] = {}
    for number, space in enumerate(spaces):
        mine = fold == number
        for name, score in outside.of_spaces([space], [vectors[mine]]).items():
            made.setdefault(name, np.empty(len(fold)))[mine.numpy()] = score
    return made


def choose_weights(
    parts: Mapping[str, np.ndarray], labels: np.ndarray, blend: bool
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The cheapest blend whose log-loss is nearly the least; its weights also are what makes its probabilities true.

    Args:
        parts: logits [n, intents] of each part, of messages that it was not trained on.
        labels: [n].
        blend: whether several parts may be in it; the network always is.

    Returns:
        The weights, and blend -> accuracy and log-loss.
    """
    others = sorted(set(parts) - {"network"})
    tried = [("network", *some) for some in chain.from_iterable(combinations(others, n) for n in range(len(others) + 1))]
    figures, weights = {}, {}
    for names in [*((name,) for name in others), *tried]:
        weights[names] = pool_weights({name: log_softmax(parts[name], 1) for name in names}, labels)
        blended = log_softmax(pool(parts, weights[names]), 1)
        figures[names] = {
            "accuracy": float((blended.argmax(1) == labels).mean()),
            "log_loss": float(-np.take_along_axis(blended, labels[:, None], 1).mean()),
        }
    allowed = tried if blend else tried[:1]
    least = min(figures[names]["log_loss"] for names in allowed) * (1 + LEAST_GAIN)
    best = min((n for n in allowed if figures[n]["log_loss"] <= least), key=lambda names: sum(COST[name] for name in names))
    return weights[best], {" + ".join(names): figure for names, figure in figures.items()}


def pool_weights(parts: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """The weights, none negative, of least log-loss, which is convex in them; a temperature is the case of one part.

    As in `shared.evaluation.temperature`, the targets of n rows are mixed with 1 part in n + 1 of an even guess.

    Args:
        parts: log-probabilities [n, classes] of each part.
        labels: [n].
    """
    stacked = np.stack(list(parts.values()))
    count = len(labels)
    of_labels = np.take_along_axis(stacked, labels[None, :, None], 2)[..., 0].mean(1)
    wanted = (count * of_labels + stacked.mean((1, 2))) / (count + 1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(weights, stacked, 1)
        expected = (softmax(logits, 1) * stacked).sum(2).mean(1)
        return float(logsumexp(logits, 1).mean() - weights @ wanted), expected - wanted

    start = np.full(len(stacked), 1 / len(stacked))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(stacked))
    return dict(zip(parts, found.x.tolist(), strict=True))
