"""Every knob of the recommender, with its unit and default."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from shared.config import RunConfig, Section, Training


class Columns(Section):
    """Names of the columns of the interactions; null: recognised by its usual names (user_id, userId, customer_id, …)."""

    user: str | None = Field(None, description="who; null: recognised by its usual names")
    item: str | None = Field(None, description="what; null: recognised by its usual names")
    rating: str | None = Field(None, description="how much it was liked, optional; null: recognised by its usual names")
    timestamp: str | None = Field(None, description="Unix seconds or milliseconds, or ISO 8601; optional")


class Items(Section):
    """What is known of the items beside their interactions."""

    path: str | None = Field(None, description="table of items; null: columns of the interactions, or the format's own table")
    id: str | None = Field(None, description="its id column; null: recognised by its usual names")
    text: tuple[str, ...] = Field(
        ("title", "genres"), description="columns that together describe an item; the first is its title"
    )
    tags: tuple[str, ...] = Field(
        ("genres", "year", "categories", "brand"), description="columns with words or numbers that items share"
    )


class Users(Section):
    """What is known of the users. It makes slices of the report, it is no input of a model."""

    path: str | None = Field(None, description="table of users; null: the format's own table, if it has one")
    id: str | None = Field(None, description="its id column; null: recognised by its usual names")
    groups: tuple[str, ...] = Field((), description="columns whose values become slices of the report")


class Data(Section):
    source: str = Field("movielens-small", description="a file or folder, or a name from `usecases data list`")
    format: Literal["auto", "table", "movielens", "recbole", "sequences"] = Field("auto", description="of the source")
    encoding: str = Field("utf-8", description="of text files")
    columns: Columns = Columns()
    items: Items = Items()
    users: Users = Users()
    faults: Literal["drop", "refuse"] = Field("drop", description="rows with missing or unusable values")
    duplicates: Literal["last", "first", "keep", "refuse"] = Field(
        "first", description="which of several events of a user with an item counts"
    )
    min_rating: float | None = Field(None, description="events rated lower do not count; null: every event counts")
    k_core: int = Field(0, ge=0, description="drop users and items with fewer events, repeatedly, before the split; 0: keep all")


class Split(Section):
    method: Literal["time", "leave_one_out", "random"] = Field("time", description="how the test part is set apart")
    test: float = Field(0.2, gt=0, lt=1, description="share of events in the test part (not for leave_one_out)")
    validation: float = Field(0.2, gt=0, lt=1, description="share of the other events on which models are chosen")

    @property
    def refits(self) -> bool:
        """Is everything trained again on training and validation events? Leave-one-out keeps the validation event aside."""
        return self.method != "leave_one_out"


class Vae(Section):
    """Mult-VAE."""

    hidden: int = Field(200, ge=1, description="units of the encoder's hidden layer")
    latent: int = Field(64, ge=1, description="size of the code")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of a user's items hidden from the encoder in training")
    copies: int = Field(2, ge=1, description="networks with different initial weights, whose probabilities are averaged")
    kl_weight: float = Field(0.2, ge=0, description="weight of the divergence (beta)")
    training: Training = Training(epochs=60, batch_size=128, learning_rate=2e-3)


class Transformer(Section):
    """SASRec."""

    dim: int = Field(128, ge=1, description="size of an item's vector")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(2, ge=1, description="attention heads; divides dim")
    dropout: float = Field(0.5, ge=0, lt=1, description="in the blocks and on the embeddings")
    max_length: int = Field(50, ge=2, description="last events of a history that it sees")
    warm_start: float = Field(0.12, ge=0, description="size of what item vectors get from co-occurrence at the start; 0: nothing")
    full_softmax_up_to: int = Field(4096, ge=1, description="items; above, the softmax is sampled")
    sampled: int = Field(1500, ge=1, description="random candidates of the sampled softmax, beside the batch's targets")
    training: Training = Training(epochs=9, batch_size=256, learning_rate=3e-3, average=0.99, warmup=0.1)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class Model(Section):
    members: tuple[Literal["popularity", "near_ease", "near_knn", "vae", "transformer"], ...] = Field(
        ("popularity", "near_ease", "near_knn", "vae", "transformer"),
        min_length=1,
        description="what may take part in the blend",
    )
    min_item_events: int = Field(5, ge=1, description="items with fewer training events are recommended through their text only")
    ease_up_to: int = Field(12_000, ge=1, description="items; with more, EASE is left out (its matrix has items squared numbers)")
    text: Literal["sentence_encoder", "none"] = Field("sentence_encoder", description="how new items are known by their text")
    text_path: str | None = Field(None, description="folder of another sentence encoder in transformers' format")
    vae: Vae = Vae()
    transformer: Transformer = Transformer()


class RecommendationConfig(RunConfig):
    data: Data = Data()
    split: Split = Split()
    model: Model = Model()
    at: tuple[int, ...] = Field((10, 20), min_length=1, description="list lengths of the metrics; the first is the headline's")
