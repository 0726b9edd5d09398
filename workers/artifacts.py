"""Files of the service: bars and results as Parquet, named by the hash of what they hold and written all or nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def bars_file(folder: Path, fingerprint: str) -> Path:
    return folder / "bars" / f"{fingerprint}.parquet"


def result_file(folder: Path, fingerprint: str, part: str) -> Path:
    return folder / "results" / fingerprint[:2] / f"{fingerprint}.{part}.parquet"


def write(path: Path, content: Callable[[BinaryIO], object]) -> None:
    """Let `content` write a file that appears under `path` only when it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("xb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
