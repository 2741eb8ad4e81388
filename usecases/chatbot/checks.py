"""What is wrong with a source, all of it at once: utterances, labels, parts, and what a support team has written."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict

from shared.data import cleaning, columns
from shared.errors import SHOWN, Collector, Finding
from usecases.chatbot import content_checks, formats
from usecases.chatbot.config import ChatConfig
from usecases.chatbot.corpus import TEST, TRAIN, Utterances, normalised
from usecases.chatbot.formats import Raw

FEW = 10  # utterances of an intent, below which it is hard to tell from others
MANY = 100  # labels; where there are more, a quarter as many as utterances are hardly intents
LONG = 2000  # characters
UNEVEN = 20  # times as many utterances as the rarest intent has
RARE = 0.05  # of another intent's utterances: a label that may be that one's, mistyped
NO_WORD = re.compile(r"\S*@\S*|\S*\d{3}\S*|\b\d+\b|[\W_]+")  # e-mail, numbers and codes, signs


def check(config: ChatConfig) -> list[Finding]:
    """Every mismatch of the data at once, errors first; never raises for bad data."""
    return cleaning.check(lambda: _everything(config), config.data.source)


def _everything(config: ChatConfig) -> list[Finding]:
    raw = formats.read(config.data)
    inspect(raw)
    if not any(finding.severity == "error" for finding in raw.faults.findings):
        from usecases.chatbot import confusion  # scikit-learn takes long to import

        confusion.check(raw.utterances, raw.faults)
    return raw.faults.findings


def inspect(raw: Raw) -> None:
    """Add what can be told at a glance to the findings of a source; all but which intents will be confused."""
    utterances, faults = raw.utterances, raw.faults
    if raw.content is not None:
        content_checks.check(raw.content, faults)
    _texts(utterances, faults)
    _counts(utterances, faults)
    _labels(utterances, faults)
    _same(utterances, faults)
    _parts(utterances, faults)


def _texts(utterances: Utterances, faults: Collector) -> None:
    scripts = [script_of(text) for text in utterances.texts]
    usual = Counter(script for script in scripts if script).most_common(1)
    rows = zip(utterances.texts, utterances.labels, scripts, utterances.files, utterances.rows, strict=True)
    for text, label, script, file, row in rows:
        if not text:
            fix = "It was left out; remove it or write one"
            faults.add("warning", "an utterance without text", fix, label, row, file, left_out=True)
        elif len(text) > LONG:
            fix = "Give what one customer would write in one message; only its beginning can be learnt from"
            faults.add("warning", f"an utterance of more than {LONG:,} characters", fix, text[:60], row, file)
        elif label and not NO_WORD.sub("", text) and any(character.isalnum() for character in text):
            fix = "It tells no intent: forms recognise values by themselves. Add words, or remove it"
            faults.add("warning", "an utterance of nothing but numbers, codes or addresses", fix, f"{label}: {text}", row, file)
        elif label and script and script != usual[0][0]:
            fix = f"Most are {usual[0][0].lower()}; is it in the right place? Another language needs examples of each intent"
            faults.add("warning", "an utterance in another script", fix, f"{label}: {text}", row, file)


def script_of(text: str) -> str:
    """The script of most letters, as Unicode names it (LATIN, CYRILLIC, …); "" where there are none."""
    if text.isascii():
        return "LATIN" if any(character.isalpha() for character in text) else ""
    names = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    return names.most_common(1)[0][0] if names else ""


def _learnt(utterances: Utterances) -> list[int]:
    """Places of the utterances that are trained on."""
    return [
        place
        for place, (text, part) in enumerate(zip(utterances.texts, utterances.parts, strict=True))
        if text and part in ("", TRAIN)
    ]


def _counts(utterances: Utterances, faults: Collector) -> None:
    learnt = _learnt(utterances)
    counts = Counter(utterances.labels[place] for place in learnt if utterances.labels[place])
    if learnt and len(counts) < 2:
        what = f"{len(counts)} intent to train on" if counts else "nothing to train on"
        texts = [utterances.texts[place][:60] for place in learnt]
        faults.add("error", what, "Give utterances of at least two intents", texts, count=max(1, len(texts)))
        return
    few = {label: count for label, count in counts.items() if count < FEW}
    for label, count in sorted(few.items(), key=lambda item: item[1]):
        fix = f"Give {FEW} or more each, varied in length and words, as customers write"
        faults.add("warning", f"an intent with fewer than {FEW} utterances to train on", fix, f"{label} ({count})")
    if counts and max(counts.values()) > UNEVEN * min(counts.values()):
        (most, many), (least, rare) = counts.most_common()[0], counts.most_common()[-1]
        what = f"hugely unbalanced: {many:,} utterances of '{most}', {rare:,} of '{least}'"
        faults.add("warning", what, "Add to the rare ones, or thin out the frequent ones: rare intents are overlooked")
    if learnt and "" not in utterances.labels:
        fix = "Add some that no intent answers (label oos): else how they look can only be guessed"
        faults.add("info", "no messages out of scope", fix)
    unseen = sorted({label for label in utterances.labels if label} - set(counts))
    for label in unseen:
        faults.add("error", "an intent with utterances to judge or choose by, but none to train on", "Add some", label)


def _labels(utterances: Utterances, faults: Collector) -> None:
    counts = Counter(label for label in utterances.labels if label)
    alike: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        alike[columns.normal(label)].append(label)
    for labels in alike.values():
        if len(labels) > 1:
            fix = "Write each intent in one way: these count as different"
            faults.add("warning", "labels that differ in case, spaces or signs alone", fix, " / ".join(sorted(labels)))
    if len(counts) > MANY and len(counts) > len(utterances.labels) / 4:
        fix = "Is it the column of the intents? See data.columns.label"
        what = f"{len(counts):,} different labels in {len(utterances.labels):,} utterances"
        faults.add("warning", what, fix, list(counts), count=len(counts))
        return
    normal = {label: columns.normal(label) for label in counts}
    often = max(counts.values(), default=0)
    for label in (label for label, count in counts.items() if count <= RARE * often):
        larger = [one for one, count in counts.items() if counts[label] <= RARE * count and normal[one] != normal[label]]
        if close := difflib.get_close_matches(label, larger, n=1, cutoff=0.85):
            fix = "Correct it if it is a typo: it counts as an intent of its own"
            told = f"{label} ({counts[label]}) / {close[0]} ({counts[close[0]]})"
            faults.add("warning", "a rare label that is nearly another one", fix, told)


def _same(utterances: Utterances, faults: Collector) -> None:
    by_text: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(utterances.texts):
        if text:
            by_text[normalised(text)].append(place)
    for places in by_text.values():
        labels = {utterances.labels[place] for place in places}
        text, file, row = utterances.texts[places[0]], utterances.files[places[-1]], utterances.rows[places[-1]]
        if len(labels) > 1:
            named = ", ".join(sorted(label or "out of scope" for label in labels))
            fix = "Keep it where it belongs: no method can learn both"
            faults.add("warning", "the same utterance in two intents", fix, f"{text} ({named})", row, file)
        elif len(places) > 1 and len({utterances.parts[place] for place in places}) == 1:
            fix = "Once is enough; they stay in one part of the split"
            for file, row in [(utterances.files[place], utterances.rows[place]) for place in places[1:]]:
                faults.add("info", "the same utterance twice in an intent", fix, text, row, file, left_out=True)
        parts = {utterances.parts[place] or TRAIN for place in places}
        if len(parts) > 1:
            first, *_, last = sorted(parts, key=(TRAIN, "validation", TEST).index)
            fix = "It counts in the later part alone: a test on what was trained on proves nothing"
            faults.add("warning", f"utterances of {last} that are also in {first}", fix, text, row, file)


def _parts(utterances: Utterances, faults: Collector) -> None:
    given = Counter(utterances.parts)
    if len(given) > 1 and given[""]:
        what = f"{given['']:,} utterances of no part, where {len(utterances.parts) - given['']:,} have one"
        fix, places = "They are trained on. Fill in train, validation or test everywhere, or nowhere", utterances.rows
        rows = [row for row, part in zip(places, utterances.parts, strict=True) if not part]
        texts = [text[:60] for text, part in zip(utterances.texts, utterances.parts, strict=True) if not part]
        faults.given.append(Finding("warning", what, faults.where, fix, len(rows), rows[:SHOWN], texts[:2]))
    elif given and TRAIN not in given and "" not in given:
        texts = [text[:60] for text in utterances.texts]
        faults.add("error", "a split without anything to train on", "Mark utterances as train", texts, count=len(texts))
