"""`fitwell check` and `fitwell explain`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fitwell.cli.output import print_json
from fitwell.cli.train import Settings, parse_settings
from fitwell.errors import UsageError

if TYPE_CHECKING:
    from fitwell.data.check.inspection import Inspection
    from fitwell.data.finding import Finding

DATA = 3  # exit code of a dataset with errors
OPTIONS = (
    *("--recipe", "--image-root", "--group-by", "--flips", "--labels"),
    *("--select", "--ignore", "--page", "--fix-list", "--json"),
)
Flag = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True)
class Report:
    """What to report, and where to.

    Args:
        select: keep only codes that begin with one of these, such as DATA1,DATA303.
        ignore: leave out codes that begin with one of these.
        page: write the findings with thumbnails into this HTML file.
        fix_list: write every case into this CSV file.
        json: print the result as JSON.
    """

    select: str = ""
    ignore: str = ""
    page: Path | None = None
    fix_list: Path | None = None
    json: Annotated[bool, Flag] = False


EVERYTHING = Report()


def check(
    data: Path,
    /,
    *settings: Settings,
    recipe: str = "auto",
    image_root: Path | None = None,
    group_by: str | None = None,
    flips: Annotated[bool, Flag] = False,
    labels: Annotated[bool, Flag] = False,
    report: Report = EVERYTHING,
) -> int:
    """Find what is wrong with labelled images; change nothing.

    Args:
        data: a folder of class folders, or a CSV, TSV or Parquet table with the columns path and label.
        recipe: the recipe whose crop and split are planned, and whose target says what a label means; settings such as
            `--target.kind multi_label` are laid over it.
        image_root: folder that the table's paths are relative to; else the table's own folder.
        group_by: what belongs together: order:N for blocks of N images in file order, or a column's name.
        flips: count mirrored copies as duplicates.
        labels: look for wrong labels by the features of a pretrained network, which takes a while.
    """
    from dataclasses import replace

    from fitwell import classifier
    from fitwell.data.finding import keep_findings

    for path in (report.page, report.fix_list):
        _require_folder(path)
    asked = classifier.read_settings(recipe, parse_settings(settings, known=OPTIONS))
    dataset = classifier.read_dataset(data, image_root, group_by, recipe=asked)
    inspection = classifier.inspect(dataset, asked, flips=flips, labels=labels)
    kept = keep_findings(inspection.findings, _prefixes(report.select), _prefixes(report.ignore))
    inspection = replace(inspection, findings=tuple(kept))
    _write_files(inspection, report)
    if report.json:
        print_json(
            {"source": inspection.source, **inspection.summary(), "findings": [each.as_record() for each in kept]}
        )
    else:
        _print(inspection)
    return DATA if any(finding.severity == "error" for finding in kept) else 0


def explain(code: str | None = None, /) -> None:
    """Say what a code of a finding means, why it matters, and what to do.

    Args:
        code: such as DATA303; without it all codes are listed.
    """
    from fitwell.data.finding import codes
    from fitwell.data.finding import explain as explain_code

    if code is not None:
        print(explain_code(code.upper()))
        return
    for name, kind in codes().items():
        print(f"{name}  {kind.severity:<8} {kind.title}")


def _prefixes(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _require_folder(path: Path | None) -> None:
    """Refuse a file that could not be written before minutes are spent on what would be in it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(
            found=f"{path}, which is a folder or lies in one that does not exist.",
            expected="a file in a folder that is there.",
            fix="make the folder first, or write somewhere else.",
        )


def _write_files(inspection: Inspection, report: Report) -> None:
    if report.page is not None:
        from fitwell.data.check.page import write_page

        write_page(report.page, inspection)
    if report.fix_list is not None:
        from fitwell.data.check.fix_list import write_fix_list

        write_fix_list(report.fix_list, inspection.findings)


def _print(inspection: Inspection) -> None:
    summary = inspection.summary()
    groups = f", {summary['num_groups']:,} groups" if summary["num_groups"] else ""
    print(f"{inspection.source}: {summary['num_images']:,} images, {len(inspection.classes)} classes{groups}")
    for finding in inspection.findings:
        print(f"\n{finding.severity:<8}{_describe(finding)}")
    if summary["split"]:
        sizes = ", ".join(f"{part} {size:,}" for part, size in summary["split"].items())
        print(f"\nplanned split: {sizes}")
    counts = Counter(finding.severity for finding in inspection.findings)
    found = ", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in ("error", "warning", "notice"))
    print(f"{found}. `fitwell explain CODE` says more." if inspection.findings else "nothing to report.")


def _describe(finding: Finding) -> str:
    from fitwell.data.finding import describe

    return describe(finding, limit=3) + f"\n    Fix: {finding.kind.fix}"
