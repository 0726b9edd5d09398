"""Opens the file store that the settings name."""

from __future__ import annotations

from workers.settings import Settings
from workers.storage.artifacts import DRAFTS, Artifacts, Folder
from workers.storage.s3 import Bucket


def open_artifacts(settings: Settings) -> Artifacts:
    """The bucket of `artifacts_url`, or a folder in `data_dir` if it is empty."""
    if settings.artifacts_url:
        return Bucket(settings.artifacts_url, settings.folder / DRAFTS)
    return Folder(settings.folder / "artifacts")
