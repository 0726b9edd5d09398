"""Files in a bucket of S3 or a compatible object store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workers.errors import Unavailable
from workers.storage.artifacts import SUFFIX, ArtifactLost, StoredFile, anonymous_file, write_and_discard

CLOCK = "clock"
# A successful write is good for this long, because object stores charge for each.
CHECKED_S = 10.0


class Bucket:
    """Files below a URL such as `s3://bucket/barstorm`. Credentials, region and endpoint come from AWS_ environment variables."""

    def __init__(self, url: str, drafts: Path) -> None:
        try:
            from obstore.store import S3Store
        except ImportError:
            raise Unavailable("obstore is not installed", where="artifacts_url", hint="run `pip install '.[s3]'` in the checkout") from None
        with _store_errors():
            self._store = S3Store.from_url(url)
        self._drafts = drafts
        self._checked_until = 0.0

    def draft(self) -> BinaryIO:
        return anonymous_file(self._drafts)

    def save(self, draft: BinaryIO, name: str) -> None:
        import obstore

        draft.flush()
        draft.seek(0)
        # An existing file is written again, which is the only way to renew its modification time.
        try:
            with _store_errors():
                obstore.put(self._store, _key(name), draft)
        except ArtifactLost as error:
            raise OSError("the object store failed: there is no such bucket") from error

    def read(self, name: str) -> bytes:
        import obstore

        with _store_errors():
            data = bytes(obstore.get(self._store, _key(name)).bytes())
        if hashlib.sha256(data).hexdigest() != name:
            raise ArtifactLost("is damaged")
        return data

    def exists(self, name: str) -> bool:
        return self._modified_ms(name) is not None

    def list_all(self) -> Iterator[StoredFile]:
        import obstore

        with _store_errors():
            for entry in (item for batch in obstore.list(self._store) for item in batch):
                if entry["path"].endswith(SUFFIX):
                    name = entry["path"].rpartition("/")[2].removesuffix(SUFFIX)
                    yield StoredFile(name, entry["size"], int(entry["last_modified"].timestamp() * 1000))

    def now_ms(self) -> int:
        import obstore

        with _store_errors():
            obstore.put(self._store, CLOCK, b"")
            return int(obstore.head(self._store, CLOCK)["last_modified"].timestamp() * 1000)

    def check_writable(self) -> None:
        import obstore

        write_and_discard(self._drafts)
        if time.monotonic() < self._checked_until:
            return
        try:
            with _store_errors():
                obstore.put(self._store, CLOCK, b"")
        except ArtifactLost as error:
            raise OSError("the object store failed: there is no such bucket") from error
        self._checked_until = time.monotonic() + CHECKED_S

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        import obstore

        for name in names:
            # S3 has no conditional delete: a file saved again right between these two calls is lost, which its next read reports.
            modified_ms = self._modified_ms(name)
            if modified_ms is not None and (before_ms is None or modified_ms < before_ms):
                with _store_errors():
                    obstore.delete(self._store, _key(name))

    def _modified_ms(self, name: str) -> int | None:
        import obstore

        try:
            with _store_errors():
                return int(obstore.head(self._store, _key(name))["last_modified"].timestamp() * 1000)
        except ArtifactLost:
            return None


def _key(name: str) -> str:
    return f"{name[:2]}/{name}{SUFFIX}"


@contextmanager
def _store_errors() -> Iterator[None]:
    """Raise a missing file as `ArtifactLost`, and every other error of the object store as OSError."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ArtifactLost("is missing") from error
    except BaseError as error:
        raise OSError(f"the object store failed: {str(error).splitlines()[0]:.200}") from error
