"""Columns that grow block by block, in memory or, if they may exceed it, in files."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from python_core.data.columns import COLUMNS


class ColumnBuffer:
    """The six columns of bars while they are being read. With a folder `scratch`, they are in unnamed files there, which are deleted when the
    process ends and which the system can move out of memory."""

    def __init__(self, scratch: Path | None = None) -> None:
        self.rows = 0
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._pieces: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        if scratch is not None:
            import tempfile

            scratch.mkdir(parents=True, exist_ok=True)
            for name in COLUMNS:
                self._files[name] = self._stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115

    def __enter__(self) -> ColumnBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        self.rows += len(columns["time"])
        for name in COLUMNS:
            if self._files:
                self._files[name].write(np.ascontiguousarray(columns[name]).data)
            else:
                self._pieces[name].append(columns[name])

    def finish(self) -> dict[str, Any]:
        """The complete columns."""
        if self._files and self.rows:
            return {name: self._map(name, file) for name, file in self._files.items()}
        # One at a time, so that the pieces of a column are freed before the next is joined.
        return {name: np.concatenate(self._pieces.pop(name) or [np.empty(0)]) for name in COLUMNS}

    def _map(self, name: str, file: IO[bytes]) -> np.ndarray:
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.int64 if name == "time" else np.float64)
