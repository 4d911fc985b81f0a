"""A phase: a stretch of training with one answer to "what trains", and its learning rate from step to step."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fitwell.recipe.section import Auto, Count, NotNegative, Positive, Section

FEWEST_EPOCHS = 3  # that `auto` gives a phase


class Last(Section):
    """Train the head and the last `last` leaf layers of the backbone that own parameters."""

    last: Count


class Stages(Section):
    """Train the head and the last `stages` stages of the backbone."""

    stages: Count


class Steps(Section):
    """How a backbone is freed step by step, from its end."""

    every: Count = Field(description="epochs of each step; the first trains the head alone")
    stages: Count = Field(1, description="how many more stages each step trains")


class Gradual(Section):
    """Train the head, then free so many more stages every so many epochs; each step becomes a phase of its own."""

    gradual: Steps


class Phase(Section):
    """A stretch of training with one answer to "what trains"."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    train: Literal["head", "all"] | Last | Stages | Gradual
    epochs: Count | Auto = Field(description="auto: fewer, the more training images there are")
    learning_rate: Positive | Literal["search"] = Field(
        description="peak, reached when warmup ends; search (only for head): many heads side by side, with rates and "
        "decays of their own, and the mean of those that val likes best"
    )
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None,
        description="side in pixels of this phase's training pictures, at most images.size, which null stands for; val "
        "and the trained network keep images.size",
    )
    head_learning_rate: Positive | None = Field(None, description="peak of the head's own rate; null: learning_rate")
    head: Literal["kept", "fresh"] = Field(
        "kept", description="begin with the head of the phase before, or with a new one"
    )
    batch_norm: Literal["updated", "fixed"] = Field(
        "updated", description="statistics of BatchNorm where it trains: of each batch, or fixed as they are"
    )
    depthwise: Literal["trained", "frozen"] = Field(
        "trained",
        description="kernels of depthwise convolutions, few weights; frozen: on two cores of an AMD EPYC a step was "
        "1.3 times as fast in float32, 4 times in bfloat16",
    )
    warmup_epochs: NotNegative = 0.0
    warmup: Literal["linear", "cosine"] = "linear"
    schedule: Literal["constant", "cosine", "warm_restarts", "one_cycle", "polynomial", "plateau"] = "cosine"
    rate_changes: Literal["step", "epoch"] = Field(
        "step", description="how often the schedule gives a new rate: at every step, or at the start of every epoch"
    )
    min_learning_rate: NotNegative = Field(
        0.0, description="where the schedule ends, or the least that it goes down to; not for one_cycle"
    )
    restart_epochs: Positive = Field(10.0, description="warm_restarts: length of the first cosine")
    restart_factor: Count = Field(2, description="warm_restarts: how many times as long each cosine is as the last")
    power: Positive = Field(1.0, description="polynomial: 1 falls in a straight line, more falls faster at first")
    patience: Count | None = None  # epochs without a better val metric before the phase stops
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5  # learning rate times this on a plateau
    plateau_patience: Count = 3  # epochs without a better val metric that make a plateau

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        epochs = FEWEST_EPOCHS if self.epochs == "auto" else self.epochs
        if self.warmup_epochs >= epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}; expected less than epochs ({epochs})")
        if self.schedule == "one_cycle" and (self.warmup_epochs or self.min_learning_rate):
            raise ValueError(
                "schedule is one_cycle, which has its own warmup and its own end; expected no warmup_epochs and no "
                "min_learning_rate"
            )
        return self

    @model_validator(mode="after")
    def _warmup_fits_into_the_first_step(self) -> Self:
        if isinstance(self.train, Gradual) and self.warmup_epochs >= self.train.gradual.every:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}; expected less than train.gradual.every "
                f"({self.train.gradual.every}), the epochs of the first step"
            )
        return self

    @model_validator(mode="after")
    def _floor_lies_below_the_peak(self) -> Self:
        if self.learning_rate != "search" and self.min_learning_rate >= self.learning_rate:
            raise ValueError(
                f"min_learning_rate is {self.min_learning_rate:g}; expected less than learning_rate "
                f"({self.learning_rate:g})"
            )
        return self

    @model_validator(mode="after")
    def _search_is_for_heads(self) -> Self:
        unused = (self.patience, self.warmup_epochs, self.head_learning_rate, self.image_size)
        if self.learning_rate == "search" and (self.train != "head" or any(unused)):
            raise ValueError(
                "learning_rate is search; expected train: head, and no patience, warmup_epochs, head_learning_rate "
                "or image_size"
            )
        return self

    @property
    def head_factor(self) -> float:
        """How many times the backbone's learning rate the head's is."""
        return self.head_learning_rate / float(self.learning_rate) if self.head_learning_rate else 1.0

    def steps(self, num_stages: int) -> tuple[Phase, ...]:
        """Return the phases that a gradual one stands for, one for each step; another phase is its only step.

        Each has the schedule to itself, warmup and a fresh head only the first. The last goes on to the last epoch, as
        does the one that has freed all of the backbone's `num_stages`.
        """
        if not isinstance(self.train, Gradual):
            return (self,)
        every, stages = self.train.gradual.every, self.train.gradual.stages
        freed = [0, *range(stages, num_stages, stages), num_stages][: -(-int(self.epochs) // every)]
        phases = []
        for step, count in enumerate(freed):
            begun = step * every
            epochs = int(self.epochs) - begun if count == freed[-1] else every
            changes = {
                "name": f"{self.name}-{step + 1}",
                "epochs": epochs,
                "train": Stages(stages=count) if count else "head",
            }
            later = {"warmup_epochs": 0.0, "head": "kept"} if step else {}
            phases.append(self.model_copy(update={**changes, **later}))
        return tuple(phases)

    def sees_smaller(self, size: int) -> bool:
        """Return whether training pictures are smaller than `size`: then what was kept at that size does not serve."""
        return self.image_size is not None and self.image_size < size
