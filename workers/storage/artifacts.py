"""Files of the service: bars and results as Parquet, named by the hash of their content and written atomically."""

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
DELETING: Final = ".deleting"
DRAFTS: Final = "drafts"
CHECK_BYTES: Final = 65_536


class ArtifactLost(Exception):
    """A file is missing or damaged; `str()` says which."""


class StoredFile(NamedTuple):
    """A stored file: `hash`, the SHA-256 (hex) of its bytes, is its name."""

    hash: str
    bytes: int
    modified_ms: int = 0


class Artifacts(Protocol):
    """A store of files: a local folder, or a bucket of an object store. Thread-safe.

    Raises, in every method:
        OSError: the disk or the object store can't be reached, or is full.
    """

    def draft(self) -> BinaryIO:
        """An empty anonymous file, open for writing and reading; it is deleted when it is closed or the process dies."""

    def save(self, draft: BinaryIO, name: str) -> None:
        """Publish a draft under its hash, complete and durable. An existing file gets a new modification time."""

    def read(self, name: str) -> Path | bytes:
        """A file in a form that polars can read, verified against its hash.

        Raises:
            ArtifactLost: it is missing or damaged.
        """

    def exists(self, name: str) -> bool: ...

    def list_all(self) -> Iterator[StoredFile]:
        """All files."""

    def now_ms(self) -> int:
        """The time by the clock that stamps modification times, which may be another machine's."""

    def check_writable(self) -> None:
        """Write a little, and keep nothing."""

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        """Delete files; with `before_ms`, only those last modified before it."""


def hash_file(draft: BinaryIO) -> StoredFile:
    """Hash and size of a draft."""
    draft.flush()
    draft.seek(0)
    name = hashlib.file_digest(draft, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed demands readinto
    return StoredFile(name, draft.tell())


def write_parquet(frame: polars.DataFrame, file: BinaryIO, compression: Literal["zstd", "uncompressed"] = "zstd") -> None:
    """Write a frame as Parquet.

    Raises:
        OSError: the disk is full or missing, which polars reports by an error of its own.
    """
    import polars

    try:
        frame.write_parquet(file, compression=compression)
    except polars.exceptions.ComputeError as error:
        raise OSError(f"can't write the file: {error}") from error


def write(artifacts: Artifacts, content: Callable[[BinaryIO], object]) -> StoredFile:
    """Save the file that `content` writes."""
    with artifacts.draft() as draft:
        content(draft)
        file = hash_file(draft)
        artifacts.save(draft, file.hash)
    return file


class Folder:
    """Files in a local folder, in subfolders named by the first two digits of their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / (name + SUFFIX)

    def draft(self) -> BinaryIO:
        return anonymous_file(self._folder / DRAFTS)

    def save(self, draft: BinaryIO, name: str) -> None:
        path = self.path(name)
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_file(draft, path)

    def read(self, name: str) -> Path:
        path = self.path(name)
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != name:
                    raise ArtifactLost("is damaged")
        except FileNotFoundError:
            raise ArtifactLost("is missing") from None
        return path

    def exists(self, name: str) -> bool:
        return self.path(name).is_file()

    def list_all(self) -> Iterator[StoredFile]:
        for deleting in self._folder.glob(f"??/*{DELETING}"):  # left by a process that was killed in `delete`
            with suppress(FileNotFoundError):
                deleting.rename(deleting.with_suffix(SUFFIX))
        for path in self._folder.glob(f"??/*{SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield StoredFile(path.name.removesuffix(SUFFIX), status.st_size, status.st_mtime_ns // 1_000_000)

    def now_ms(self) -> int:
        with self.draft() as new:
            return os.fstat(new.fileno()).st_mtime_ns // 1_000_000

    def check_writable(self) -> None:
        write_and_discard(self._folder / DRAFTS)

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        for name in names:
            path = self.path(name)
            deleting = path.with_suffix(DELETING)
            with suppress(FileNotFoundError):
                # A process that saves the same file either renewed its time before the rename, or finds it missing and writes it again.
                path.rename(deleting)
                if before_ms is not None and deleting.stat().st_mtime_ns // 1_000_000 >= before_ms:
                    deleting.rename(path)
                else:
                    deleting.unlink()


def anonymous_file(folder: Path) -> BinaryIO:
    """An empty file without a name on the folder's file system, so that a killed process leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # tempfile opens with O_EXCL, after which the file can't be linked to a name.
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except (AttributeError, OSError):  # not supported by the system or the file system
        return tempfile.TemporaryFile(dir=folder)


def write_and_discard(folder: Path) -> None:
    """Write as much as a small result to the folder's disk, without leaving it there.

    Raises:
        OSError: the disk is full, read-only or missing.
    """
    with anonymous_file(folder) as file:
        file.write(bytes(CHECK_BYTES))
        file.flush()


def publish_file(file: BinaryIO, path: Path) -> None:
    """Publish an anonymous file as `path`, atomically and durably; an existing file stays."""
    file.flush()
    os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            # With a folder descriptor Python calls linkat, which follows the link.
            os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            return
        except OSError as error:  # no /proc, or not a linkable file
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # a copy would not fit either, and a process killed while copying leaves it behind
            _copy(file, path)
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy(file: BinaryIO, path: Path) -> None:
    copy = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with copy.open("xb") as target:
            file.seek(0)
            shutil.copyfileobj(file, target)
            target.flush()
            os.fsync(target.fileno())
        copy.replace(path)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
