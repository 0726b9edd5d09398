"""Files of the service: bars and results as Parquet, named by the hash of what they hold and written all or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import polars

SUFFIX: Final = ".parquet"
DOOMED: Final = ".doomed"
DRAFTS: Final = "drafts"


class ArtifactLost(Exception):
    """The file is not there, or does not hold what was written; `str()` says which."""


class StoredFile(NamedTuple):
    """A file that is there: `hash` is the SHA-256 (hex) of its bytes, and names it."""

    hash: str
    bytes: int
    modified_ms: int = 0


class Artifacts(Protocol):
    """Where files are kept: a folder, or a bucket of an object store. May be used from any thread.

    Raises, in every method:
        OSError: the disk or the store can't be reached, or is full.
    """

    def draft(self) -> BinaryIO:
        """An empty file without a name, open for writing and reading; gone when it is closed or its process dies."""

    def keep(self, draft: BinaryIO, name: str) -> None:
        """Make a draft appear under its hash, whole and on the disk; one that is there already becomes new again, as `sweep` sees it."""

    def read(self, name: str) -> Path | bytes:
        """A file as polars takes it, its bytes checked against its name; `ArtifactLost` when they are not there or are others."""

    def has(self, name: str) -> bool: ...

    def every(self) -> Iterator[StoredFile]:
        """All files."""

    def now_ms(self) -> int:
        """The time by the clock that says when files were modified, which may be another machine's."""

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        """Delete files; with `before_ms`, only those that have not become new since."""


def finish(draft: BinaryIO) -> StoredFile:
    """Hash and size of what was written into a draft."""
    draft.flush()
    draft.seek(0)
    name = hashlib.file_digest(draft, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto of it
    return StoredFile(name, draft.tell())


def write_parquet(frame: polars.DataFrame, file: BinaryIO, compression: Literal["zstd", "uncompressed"] = "zstd") -> None:
    """Write a frame as Parquet.

    Raises:
        OSError: the disk is full or not there, which polars tells by an error of its own.
    """
    import polars

    try:
        frame.write_parquet(file, compression=compression)
    except polars.exceptions.ComputeError as error:
        raise OSError(f"the file can't be written: {error}") from error


def write(artifacts: Artifacts, content: Callable[[BinaryIO], object]) -> StoredFile:
    """Keep the file that `content` writes."""
    with artifacts.draft() as draft:
        content(draft)
        kept = finish(draft)
        artifacts.keep(draft, kept.hash)
    return kept


class Folder:
    """Files below a local folder, in 256 folders by the first two letters of their names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / (name + SUFFIX)

    def draft(self) -> BinaryIO:
        return nameless(self._folder / DRAFTS)

    def keep(self, draft: BinaryIO, name: str) -> None:
        path = self.path(name)
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        give_name(draft, path)

    def read(self, name: str) -> Path:
        path = self.path(name)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != name:
                    raise ArtifactLost("is damaged")
        except FileNotFoundError:
            raise ArtifactLost("is gone") from None
        return path

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def every(self) -> Iterator[StoredFile]:
        for doomed in self._folder.glob(f"??/*{DOOMED}"):  # of a process that was killed while it deleted
            with suppress(FileNotFoundError):
                doomed.rename(doomed.with_suffix(SUFFIX))
        for path in self._folder.glob(f"??/*{SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield StoredFile(path.name.removesuffix(SUFFIX), status.st_size, status.st_mtime_ns // 1_000_000)

    def now_ms(self) -> int:
        with self.draft() as new:
            return os.fstat(new.fileno()).st_mtime_ns // 1_000_000

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        for name in names:
            path = self.path(name)
            doomed = path.with_suffix(DOOMED)
            with suppress(FileNotFoundError):
                # Whoever keeps the file anew either touched it before this, or finds it gone and writes it.
                path.rename(doomed)
                if before_ms is not None and doomed.stat().st_mtime_ns // 1_000_000 >= before_ms:
                    doomed.rename(path)
                else:
                    doomed.unlink()


def nameless(folder: Path) -> BinaryIO:
    """An empty file on the folder's file system that no name leads to, so that a killed process leaves nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # tempfile's own would be opened with O_EXCL, and could never be given a name.
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except (AttributeError, OSError):  # a system or a disk that has no nameless files
        return tempfile.TemporaryFile(dir=folder)


def give_name(file: BinaryIO, path: Path) -> None:
    """Let a nameless file appear as `path`, at once, whole and on the disk; nothing happens when there is one."""
    file.flush()
    os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            # The folder is given as descriptor, as only then Python has the system follow the link.
            os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            return
        except OSError as error:  # a system without /proc, or whose temporary files can't be given a name
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # a copy would not fit either, and a process killed while it tries leaves it behind
            _copy(file, path)
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy(file: BinaryIO, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("xb") as target:
            file.seek(0)
            shutil.copyfileobj(file, target)
            target.flush()
            os.fsync(target.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
