"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers import Invalid, Settings


def test_the_defaults_are_files_in_the_data_folder() -> None:
    settings = Settings.from_env({})
    assert settings.folder == Path("var").absolute()
    assert settings.database_url == f"sqlite+aiosqlite:///{settings.folder}/barstorm.sqlite"
    assert settings.redis_url == ""


def test_the_environment_is_read() -> None:
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgres://me:secret@db/barstorm",
            "REDIS_URL": "redis://queue:6379/2",
            "BARSTORM_LEASE_S": "7.5",
            "BARSTORM_CONCURRENCY": "4",
            "BARSTORM_LOG_FORMAT": "json",
            "BARSTORM_DATA_DIR": "",
        }
    )
    assert settings.database_url == "postgresql+asyncpg://me:secret@db/barstorm"
    assert (settings.redis_url, settings.lease_s, settings.concurrency, settings.log_format) == ("redis://queue:6379/2", 7.5, 4, "json")


def test_settings_are_equal_after_the_environment() -> None:
    settings = Settings(data_dir="/somewhere", redis_url="unix:///a.sock", drain_s=0.25, workers=3)
    assert Settings.from_env(settings.to_env()) == settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://db", "use postgresql"),
        ("DATABASE_URL", "nonsense", "use postgresql"),
        ("REDIS_URL", "http://queue", "use redis"),
        ("BARSTORM_CONCURRENCY", "0", ">= 1"),
        ("BARSTORM_CONCURRENCY", "many", "int"),
        ("BARSTORM_LEASE_S", "0", ">= 0.2"),
        ("BARSTORM_LOG_LEVEL", "loud", "loud"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(Invalid, match=expected) as error:
        Settings.from_env({name: value})
    assert error.value.where == name


def test_the_constructor_validates_too() -> None:
    with pytest.raises(Invalid, match="concurrency"):
        Settings(concurrency=0)
