"""Search by words: BM25 over texts, with what inflected forms share as a further word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

STEM = 5  # letters that "delivery", "deliver" and "delivered" share
_COMMON = (
    "a about after all also am an and any are as at be been before but by can could did do does don each for from get "
    "got had has have he her here his how i if im in into is it its just may me more must my no not of on once one only "
    "or our out own please s shall she should so some such t than that the their them then there these they this those "
    "to too up us was we were what when where which while who why will with would yes you your "
)
STOP_WORDS = frozenset(_COMMON.split())


def terms(text: str) -> Iterator[str]:
    """Words in lower case without stop words, numbers as they are, and of longer words the first letters too.

    Truncation serves as well as a stemmer in many languages (McNamee & Mayfield 2004) and needs no table for any.
    """
    for word in re.findall(r"[^\W\d_]+|\d+(?:[.,:]\d+)*", text.lower()):
        if word not in STOP_WORDS:
            yield word
            if len(word) > STEM:
                yield word[:STEM] + "…"


def sentences(text: str) -> list[str]:
    """Sentences and items of lists, without Markdown's marks."""
    plain = re.sub(r"(?m)^[ \t]*(?:[-*+>#]+|\d+[.)])[ \t]+|\*\*|__|`", "", text)
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", plain) if re.search(r"\w", part)]


class BM25:
    """Okapi BM25 (Robertson & Zaragoza 2009, equation 3.15, with an idf that is never negative).

    Args:
        texts: what is searched.
        k1, b: saturation of a word's count, and how much a text's length matters.
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        self.counter = CountVectorizer(analyzer=lambda text: list(terms(text)))
        counts = self.counter.fit_transform(texts).astype(np.float32).tocoo()
        documents = np.bincount(counts.col, minlength=counts.shape[1])
        self.idf = np.log1p((counts.shape[0] - documents + 0.5) / (documents + 0.5)).astype(np.float32)
        lengths = np.bincount(counts.row, weights=counts.data, minlength=counts.shape[0])
        norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1))
        weights = counts.copy()
        weights.data = (counts.data * (k1 + 1) / (counts.data + norm[counts.row]) * self.idf[counts.col]).astype(np.float32)
        self.weights = weights.T.tocsr()

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """[queries, texts] scores; a word counts once in a query."""
        asked = self.counter.transform(queries).astype(np.float32)
        asked.data[:] = 1
        return np.asarray((asked @ self.weights).todense())
