"""The list of everything to look at, one line per image or row, for people and their spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from fitwell.data.finding import Case, Finding, printable, sort_findings
from fitwell.data.table import escape_cell
from fitwell.files import write_atomically

COLUMNS = ("code", "severity", "name", "detail", "other", "suggestion")


def write_fix_list(path: Path, findings: Iterable[Finding]) -> None:
    """Write every case of every finding as CSV in UTF-8, errors first.

    Names are written as a person can read them: line breaks and changes of direction are spelled out, and no cell
    begins as a formula does. A finding without cases has one line, with its message as detail.
    """

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(_rows(findings))
        text.detach()  # flushes, and leaves the file open for its owner

    write_atomically(path, write)


def _rows(findings: Iterable[Finding]) -> Iterator[list[str]]:
    for finding in sort_findings(findings):
        for case in finding.cases or (Case(name="", detail=finding.message),):
            cells = (finding.code, finding.severity, case.name, case.detail, case.other, finding.kind.fix)
            yield [escape_cell(printable(cell)) for cell in cells]
