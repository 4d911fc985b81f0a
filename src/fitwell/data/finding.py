"""One sentence about something wrong with the images, with the evidence behind it.

What each code means, how severe it is and what to do stands in codes.toml. Never reaches torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fitwell.errors import DataError, UsageError

MOST_EXAMPLES = 10  # named in messages; the fix list has all of them
LEFT_OUT = "Training stops; with --on-data-error=warn the image is left out everywhere, in evaluation too."


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        severity: "error" stops training; "warning" may spoil the result; "notice" says which rule was applied.
        title: what it is, in a few words.
        why: what goes wrong when it stays, and what fitwell does about it meanwhile.
        fix: what to do.
        leaves_out: whether the images concerned are left out where errors are only warned of.
    """

    severity: Literal["error", "warning", "notice"]
    title: str
    why: str
    fix: str
    leaves_out: bool = False


@cache
def codes() -> dict[str, Code]:
    """Return every kind of finding by its code."""
    tables = tomllib.loads(files("fitwell.data").joinpath("codes.toml").read_text(encoding="utf-8"))
    return {name: Code(**table) for name, table in tables.items()}


def explain(code: str) -> str:
    """Return what a code means, why it matters and what to do, as text.

    Raises:
        UsageError: when there is no such code.
    """
    if code not in codes():
        raise UsageError(
            found=f"{code!r}, which is no code.", expected="one of the codes of fitwell explain.", fix="see the list."
        )
    kind = codes()[code]
    meanwhile = f" {LEFT_OUT}" if kind.leaves_out else ""
    return f"{code} ({kind.severity}): {kind.title}\n\n{kind.why}{meanwhile}\n\nFix: {kind.fix}"


@dataclass(frozen=True)
class Case:
    """One image, row, class or folder that a finding is about.

    Attributes:
        name: path of the image as the dataset names it, or the name of what else it is about.
        detail: what is the matter with this one; blank where the finding says it all.
        other: what it collides with, such as the path of its duplicate.
    """

    name: str
    detail: str = ""
    other: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before training.

    Attributes:
        code: key of codes(), such as "DATA103".
        message: one sentence with numbers and without names, for example "3 of 200 images are cut short".
        cases: everything that is concerned.
        evidence: the figures behind it, such as {"p": 0.0002, "block_length": 60}.
    """

    code: str
    message: str
    cases: tuple[Case, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Code:
        """Return what the code means."""
        return codes()[self.code]

    @property
    def severity(self) -> str:
        """Return "error", "warning" or "notice"."""
        return self.kind.severity

    def as_record(self, most_cases: int | None = None) -> dict[str, Any]:
        """Return it for JSON, with its first `most_cases` cases."""
        return {
            "code": self.code,
            "severity": self.severity,
            "title": self.kind.title,
            "message": self.message,
            "count": len(self.cases),
            "cases": [vars(case) for case in self.cases[:most_cases]],
            "evidence": dict(self.evidence),
            "fix": self.kind.fix,
        }


def gather_findings(cases: Mapping[str, Sequence[Case]], among: str) -> tuple[Finding, ...]:
    """Return one finding for each code that has cases, by code; `among` says of how many, such as "200 rows"."""
    return tuple(
        Finding(code, f"{len(cases[code]):,} of {among}: {codes()[code].title}.", tuple(cases[code]))
        for code in sorted(cases)
        if cases[code]
    )


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return errors first, then warnings, then notices; by code within each."""
    order = ("error", "warning", "notice")
    return sorted(findings, key=lambda finding: (order.index(finding.severity), finding.code))


def keep_findings(findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> list[Finding]:
    """Return the findings whose code begins with one of `select` (all when empty) and with none of `ignore`.

    Raises:
        UsageError: for a beginning that no code has.
    """
    for prefix in (*select, *ignore):
        if not prefix or not any(code.startswith(prefix) for code in codes()):
            raise UsageError(
                found=f"{prefix!r}, with which no code begins.",
                expected="codes or their beginnings, such as DATA303 or DATA1.",
                fix="see them all with fitwell explain.",
            )
    return [
        finding
        for finding in findings
        if (not select or finding.code.startswith(tuple(select))) and not finding.code.startswith(tuple(ignore))
    ]


def refuse_errors(findings: Iterable[Finding], source: str) -> None:
    """Stop at what cannot be trained on.

    Raises:
        DataError: when a finding is an error; names each with its first cases.
    """
    errors = [finding for finding in sort_findings(findings) if finding.severity == "error"]
    if not errors:
        return
    raise DataError(
        found="\n  ".join([f"{source} cannot be trained on as it is:", *map(describe, errors)]),
        expected="images without errors, because what a model learns from them would not be what they say.",
        fix=f"{errors[0].kind.fix} See all with `fitwell check`; --on-data-error=warn leaves out what is unusable.",
        code=errors[0].code,
    )


def describe(finding: Finding, limit: int = MOST_EXAMPLES) -> str:
    """Return the finding on a line, with its first cases, each on a line of its own."""
    lines = [f"{finding.code} {finding.message}"]
    for case in finding.cases[:limit]:
        extra = "; ".join(part for part in (case.detail, f"see {printable(case.other)}" if case.other else "") if part)
        lines.append(f"    {printable(case.name)}{f': {extra}' if extra else ''}")
    if len(finding.cases) > limit:
        lines.append(f"    and {len(finding.cases) - limit} more")
    return "\n".join(lines)


def printable(name: str) -> str:
    """Return `name` with what a terminal would act on, such as newlines and changes of direction, written out."""
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
