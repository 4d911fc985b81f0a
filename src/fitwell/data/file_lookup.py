"""Whether the file behind a path can be used, without opening it: there, regular, and below the root.

A table may name a million files, so a folder is resolved once and a file costs one call. Imports nothing of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class FileLookup:
    """Looks up paths below one root.

    Attributes:
        root: without links, ending in a slash.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - pathlib drops the slash
        self._is_inside: dict[str, bool] = {}  # by folder, relative to the root

    def fault(self, path: str) -> str:
        """Return the code of what keeps the file at `path` from being used, or "".

        Args:
            path: relative to the root, with slashes, without "..".
        """
        folder = path.rpartition("/")[0]
        if folder not in self._is_inside:
            self._is_inside[folder] = self.leads_inside(self.root + folder)
        if not self._is_inside[folder]:
            return "DATA111"
        try:
            mode = os.lstat(self.root + path).st_mode
            if stat.S_ISLNK(mode):
                if not self.leads_inside(self.root + path):
                    return "DATA111"
                mode = os.stat(self.root + path).st_mode  # noqa: PTH116
        except OSError as error:
            return "DATA108" if error.errno in ABSENT else "DATA109"
        if stat.S_ISREG(mode):
            return ""
        return "DATA108" if stat.S_ISDIR(mode) else "DATA107"

    def leads_inside(self, path: str) -> bool:
        """Say whether an absolute path, with its links followed, lies below the root or is it."""
        return os.path.join(os.path.realpath(path), "").startswith(self.root)  # noqa: PTH118
