"""The retriever finds the article, refuses what none answers, and comes back from plain tensors and JSON as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast

from shared import hardware
from shared.config import Training
from shared.errors import UserError
from shared.evaluation.operating import proportion
from shared.models.transformer import Bert
from shared.pretrained import load_bert
from shared.runs import Run
from usecases.chatbot import retrieval
from usecases.chatbot.config import ChatConfig, Retrieval
from usecases.chatbot.content import Article, Desk, Intent, Question
from usecases.chatbot.lexical import BM25, terms
from usecases.chatbot.protocols import Answer, Scores
from usecases.chatbot.rerank import Opinion, Reranker, evidence
from usecases.chatbot.retrieval import Retriever

Encoder = tuple[Tokenizer, Bert]
TOPICS = {
    "boats": ("kayak", "paddle", "river", "canoe"),
    "tents": ("tent", "pole", "peg", "camp"),
    "shoes": ("boot", "lace", "sole", "heel"),
    "money": ("refund", "bank", "card", "paypal"),
}
OUTSIDE = ("weather", "poem", "football", "recipe", "doctor", "flight")
QUICK = Retrieval(frozen_layers=1, token_dim=16, training=Training(epochs=25, batch_size=32, learning_rate=3e-3))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("encoder")
    words = [
        "about",
        "the",
        "tell",
        "me",
        ".",
        "?",
        "##s",
        *OUTSIDE,
        *(word for topic in TOPICS.values() for word in topic),
        *TOPICS,
    ]
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    tokenizer, model = load_bert(folder)
    return tokenizer, model.eval()


def a_desk() -> Desk:
    articles = {
        name: Article(title=f"About {name}", body=f"The {a}. The {b}.\n\n## {c}\nTell the {c}. The {d}.")
        for name, (a, b, c, d) in TOPICS.items()
    }
    intents = {
        name: Intent(articles=(name,), examples=tuple(f"{start} {word}" for word in words for start in ("tell me the", "about")))
        for name, words in TOPICS.items()
    }
    outside = tuple(f"{start} {word}" for word in OUTSIDE for start in ("tell me the", "about"))
    return Desk(intents=intents, articles=articles, out_of_scope=outside)


class Words:
    """A classifier that knows intents by their words."""

    intents = tuple(TOPICS)

    def __call__(self, texts: Sequence[str]) -> Scores:
        fits = np.array([[any(word in text for word in words) for words in TOPICS.values()] for text in texts], float)
        fits = fits.reshape(len(texts), len(TOPICS))
        return Scores((fits + 0.01) / (fits + 0.01).sum(1, keepdims=True), 0.98 - 0.96 * fits.max(1, initial=0))


def ask(retriever: Retriever, texts: Sequence[str]) -> list[list[Answer]]:
    return retriever(texts, Words()(texts))


def fit(desk: Desk, encoder: Encoder | None, questions: Sequence[Question] = (), epochs: int = 25) -> Retriever:
    training = QUICK.training.model_copy(update={"epochs": epochs})
    with TemporaryDirectory() as folder:
        run = Run.create("chatbot", ChatConfig(), Path(folder) / "run")
        config = QUICK.model_copy(update={"training": training})
        return Retriever.fit(desk, encoder, Words(), questions, config, run, hardware.select(ChatConfig().hardware), 0)


@pytest.fixture(scope="module")
def retriever(encoder: Encoder) -> Retriever:
    return fit(a_desk(), encoder)


def test_the_right_article_comes_first_with_the_passage_that_holds_it(retriever: Retriever) -> None:
    answers = ask(retriever, ["the paddle?", "me the lace", "the paypal"])
    assert [found[0].passage.article for found in answers] == ["boats", "shoes", "money"]
    assert all(found[0].probability >= retriever.threshold for found in answers)
    assert [len(found) for found in answers] == [3, 3, 3]
    assert all(np.diff([answer.probability for answer in found]).max() <= 0 for found in answers)


def test_what_no_article_answers_stays_below_the_threshold(retriever: Retriever) -> None:
    assert all(found[0].probability < retriever.threshold for found in ask(retriever, ["the recipe?", "me the doctor"]))


def test_quality_is_told_at_the_threshold_that_is_used(retriever: Retriever) -> None:
    assert retriever.quality is not None
    assert retriever.quality.threshold == retriever.threshold
    assert min(retriever.quality.answered.value, retriever.quality.refused.value) > 0.7


def test_it_comes_back_from_tensors_and_json_alone(retriever: Retriever, encoder: Encoder) -> None:
    settings = json.loads(json.dumps(retriever.settings()))
    tensors = {name: tensor.clone() for name, tensor in retriever.tensors().items()}
    again = Retriever.from_parts(tensors, settings, encoder)
    texts = ["the paddle?", "me the recipe", "", "🙂", "kayak " * 300]
    for before, after in zip(ask(retriever, texts), ask(again, texts), strict=True):
        assert [a.passage for a in before] == [a.passage for a in after]
        assert [a.probability for a in before] == pytest.approx([a.probability for a in after], abs=1e-6)
    assert again.threshold == retriever.threshold
    assert ask(again, []) == []


def test_a_questions_answer_does_not_depend_on_its_neighbours(retriever: Retriever) -> None:
    alone = ask(retriever, ["the peg"])[0]
    beside = ask(retriever, ["the peg", "tell me about the river and the tent and the football"])[0]
    assert alone[0].passage == beside[0].passage
    assert alone[0].probability == pytest.approx(beside[0].probability, abs=1e-5)


def test_the_encoder_is_left_as_it_was(encoder: Encoder) -> None:
    before = {name: tensor.clone() for name, tensor in encoder[1].state_dict().items()}
    fit(a_desk(), encoder, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder[1].state_dict().items())


def test_enough_questions_take_the_place_of_utterances_in_fitting_the_threshold(encoder: Encoder) -> None:
    known = [Question(f"the {word} {end}", (name,)) for name, words in TOPICS.items() for word in words for end in "?."][:24]
    unknown = [Question(f"me {word} {end}") for word in OUTSIDE for end in ("?", ".", "me", "tell")]
    fitted = fit(a_desk(), encoder, [*known, *unknown], 2)
    assert fitted.quality is not None
    assert fitted.quality.first == proportion(round(fitted.quality.first.value * len(known)), len(known))


def test_the_classifier_is_listened_to_where_it_does_not_know_the_questions(encoder: Encoder, retriever: Retriever) -> None:
    """Of two articles with the same words it tells the one; on utterances that it was trained on it would be too sure."""
    asked = [Question(f"{start} {name}", (name,)) for name in TOPICS for start in ("the", "me", ".", "about", "tell", "?")]
    unknown = [Question(f"me {word} {end}") for word in OUTSIDE for end in ("?", ".", "me", "tell")]
    fitted = fit(a_desk(), None, [*asked, *unknown])
    for name in TOPICS:
        certain = Scores(np.array([[0.97 if one == name else 0.01 for one in TOPICS]]), np.array([0.01]))
        assert fitted(["the ?"], certain)[0][0].passage.article == name
    no = Scores(np.full((1, 4), 0.25), np.array([0.99]))
    assert fitted(["the kayak"], no)[0][0].probability < fitted(["the kayak"], Words()(["the kayak"]))[0][0].probability
    assert retriever(["the kayak"], no) == ask(retriever, ["the kayak"])


def test_simple_searches_find_what_is_written_there(encoder: Encoder, retriever: Retriever) -> None:
    asked = [f"the {words[0]}?" for words in TOPICS.values()]
    assert retriever.library.by_words(asked).first == list(TOPICS)
    whole = [f"{passage.title}. {passage.text}" for passage in retriever.library.passages if not passage.heading]
    assert retriever.library.by_vectors(*encoder, whole).first == sorted(TOPICS)


def test_questions_of_articles_teach_which_section_answers(encoder: Encoder) -> None:
    """Words that stand in no passage, only in what is asked."""
    desk = a_desk()
    asked = {"boats": ("football", ""), "tents": ("recipe", "peg"), "shoes": ("doctor", "*"), "money": ("flight", "card")}
    articles = {
        name: article.model_copy(
            update={"questions": {heading: tuple(f"{start} {word}" for start in ("tell me the", "about", "the"))}}
        )
        for (name, article), (word, heading) in zip(desk.articles.items(), asked.values(), strict=True)
    }
    outside = tuple(f"{start} {word}" for word in ("weather", "poem") for start in ("tell me the", "about", "me", "the", "tell"))
    fitted = fit(desk.model_copy(update={"articles": articles, "out_of_scope": outside}), encoder)
    found = [answers[0].passage for answers in ask(fitted, ["me the football", "me the recipe", "me the flight"])]
    assert [(one.article, one.heading) for one in found] == [("boats", ""), ("tents", "peg"), ("money", "card")]


def test_without_an_encoder_it_searches_by_words_and_comes_back(encoder: Encoder) -> None:
    fitted = fit(a_desk(), None)
    again = Retriever.from_parts(fitted.tensors(), json.loads(json.dumps(fitted.settings())), None)
    texts = ["the paddle?", "me the lace", "me the recipe"]
    assert [found[0].passage.article for found in ask(fitted, texts)][:2] == ["boats", "shoes"]
    assert [found[0] for found in ask(again, texts)] == [found[0] for found in ask(fitted, texts)]


def test_without_questions_what_is_judged_was_not_taught(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}
    train = retrieval._train
    monkeypatch.setattr(retrieval, "_train", lambda *given: seen.update(taught=[q.text for q in given[2]]) or train(*given))
    judge = Retriever.evidence
    monkeypatch.setattr(
        Retriever, "evidence", lambda self, texts, scores: seen.setdefault("judged", list(texts)) and judge(self, texts, scores)
    )
    fit(a_desk(), encoder, epochs=1)
    assert len(seen["judged"]) >= 8
    assert not set(seen["judged"]) & set(seen["taught"])


def test_a_desk_without_articles_or_messages_out_of_scope_is_told_so(encoder: Encoder) -> None:
    for missing in ({"articles": {}}, {"out_of_scope": ()}):
        with pytest.raises(UserError, match=r"out_of_scope\.yaml"):
            fit(a_desk().model_copy(update=missing), encoder)


def test_bm25_is_the_formula_of_the_paper() -> None:
    texts = ["tent tent pole", "pole", "river bank water fish"]
    score = BM25(texts, k1=1.2, b=0.75)(["tent"])[0]
    idf = np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    assert score == pytest.approx([idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / (8 / 3))), 0, 0])


def test_inflected_forms_meet_and_stop_words_do_not() -> None:
    assert set(terms("We deliver 4.90")) & set(terms("the delivery costs")) == {"deliv…"}
    assert "4.90" in set(terms("We deliver 4.90"))
    assert not list(terms("what is it"))


def test_evidence_is_gathered_by_article() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.4, 0.3]], dtype=np.float32))  # three passages of two articles, and none
    said = Opinion(np.array([[-1.0, -2.0]]), np.array([0.5]))
    found = evidence(
        logits, np.array([[0.3, 0.1]]), np.array([[1.0, 2.0, 5.0]]), np.array([[7.0, 8.0]]), np.array([0, 0, 1]), said
    )
    assert found.questions[0, 3:].tolist() == [0.3, 0.1, 0.5]
    assert np.exp(found.articles[0, :, 0]) == pytest.approx([3 / 7, 4 / 7])
    assert found.articles[0, :, 2:].tolist() == [[2.0, 7.0, -1.0], [5.0, 8.0, -2.0]]
    assert found.best.tolist() == [[1, 2]]
    assert np.exp(found.questions[0, 0]) == pytest.approx(3 / 7)


def test_a_reranker_needs_both_kinds_of_questions() -> None:
    found = evidence(
        np.zeros((2, 4)),
        np.zeros((2, 2)),
        np.zeros((2, 3)),
        np.zeros((2, 2)),
        np.array([0, 0, 1]),
        Opinion.of(None, np.ones((2, 3)), 2),
    )
    with pytest.raises(ValueError, match="others that have none"):
        Reranker.fit(found, np.ones((2, 2), bool))
