"""Columns that grow block by block, in memory or, if they may exceed it, in files."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np


class ColumnBuffer:
    """The columns of bars while they are being read. With a folder `scratch`, they are in unnamed files there, which are deleted when the
    process ends and which the system can move out of memory."""

    def __init__(self, scratch: Path | None = None) -> None:
        self.rows = 0
        self._scratch = scratch
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._pieces: dict[str, list[np.ndarray]] = {}

    def __enter__(self) -> ColumnBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        self.rows += len(columns["time"])
        for name, values in columns.items():
            if self._scratch is None:
                self._pieces.setdefault(name, []).append(values)
            else:
                self._file(name).write(np.ascontiguousarray(values).data)

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._files:
            import tempfile

            assert self._scratch is not None
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._files[name] = self._stack.enter_context(tempfile.TemporaryFile(dir=self._scratch))  # noqa: SIM115
        return self._files[name]

    def clear(self) -> None:
        """Remove all rows."""
        self.rows = 0
        self._pieces.clear()
        for file in self._files.values():
            file.truncate(0)
            file.seek(0)

    def finish(self) -> dict[str, Any]:
        """The complete columns."""
        if self._files and self.rows:
            return {name: self._map(name, file) for name, file in self._files.items()}
        # One at a time, so that the pieces of a column are freed before the next is joined.
        return {name: np.concatenate(self._pieces.pop(name)) for name in list(self._pieces)}

    def _map(self, name: str, file: IO[bytes]) -> np.ndarray:
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.int64 if name == "time" else np.float64)
