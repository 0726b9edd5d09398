"""Files in a bucket of S3, or of a store that speaks like it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workers.errors import Unavailable
from workers.storage.artifacts import SUFFIX, ArtifactLost, StoredFile, nameless

CLOCK = "clock"


class Bucket:
    """Files below a URL such as `s3://bucket/barstorm`. Keys, region and endpoint come from the AWS_ variables of the environment."""

    def __init__(self, url: str, drafts: Path) -> None:
        try:
            from obstore.store import S3Store
        except ImportError:
            raise Unavailable("obstore is not installed", where="artifacts_url", hint="pip install barstorm[s3]") from None
        with _reached():
            self._store = S3Store.from_url(url)
        self._drafts = drafts

    def draft(self) -> BinaryIO:
        return nameless(self._drafts)

    def keep(self, draft: BinaryIO, name: str) -> None:
        import obstore

        draft.flush()
        draft.seek(0)
        # One that is there is written again: only so it becomes new.
        try:
            with _reached():
                obstore.put(self._store, _key(name), draft)
        except ArtifactLost as error:
            raise OSError("the object store failed: it has no such bucket") from error

    def read(self, name: str) -> bytes:
        import obstore

        with _reached():
            data = bytes(obstore.get(self._store, _key(name)).bytes())
        if hashlib.sha256(data).hexdigest() != name:
            raise ArtifactLost("is damaged")
        return data

    def has(self, name: str) -> bool:
        return self._modified_ms(name) is not None

    def every(self) -> Iterator[StoredFile]:
        import obstore

        with _reached():
            for found in (item for batch in obstore.list(self._store) for item in batch):
                if found["path"].endswith(SUFFIX):
                    name = found["path"].rpartition("/")[2].removesuffix(SUFFIX)
                    yield StoredFile(name, found["size"], int(found["last_modified"].timestamp() * 1000))

    def now_ms(self) -> int:
        import obstore

        with _reached():
            obstore.put(self._store, CLOCK, b"")
            return int(obstore.head(self._store, CLOCK)["last_modified"].timestamp() * 1000)

    def delete(self, names: Iterable[str], *, before_ms: int | None = None) -> None:
        import obstore

        for name in names:
            # A store can't compare and delete at once; who keeps the file anew in this very moment finds it gone when it is read.
            modified_ms = self._modified_ms(name)
            if modified_ms is not None and (before_ms is None or modified_ms < before_ms):
                with _reached():
                    obstore.delete(self._store, _key(name))

    def _modified_ms(self, name: str) -> int | None:
        import obstore

        try:
            with _reached():
                return int(obstore.head(self._store, _key(name))["last_modified"].timestamp() * 1000)
        except ArtifactLost:
            return None


def _key(name: str) -> str:
    return f"{name[:2]}/{name}{SUFFIX}"


@contextmanager
def _reached() -> Iterator[None]:
    """A file that is not there as `ArtifactLost`, anything else that the store says as OSError."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ArtifactLost("is gone") from error
    except BaseError as error:
        raise OSError(f"the object store failed: {str(error).splitlines()[0]:.200}") from error
