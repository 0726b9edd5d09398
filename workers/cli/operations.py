"""Subcommands that are operations of the service: their help is that of the table of operations."""

from __future__ import annotations

import argparse
from typing import Any

from workers.service.operations import OPERATIONS


def add_command(commands: argparse._SubParsersAction[Any], name: str, operation: str) -> argparse.ArgumentParser:
    """Add a subcommand with the summary and the description of an operation."""
    text = OPERATIONS[operation]
    added: argparse.ArgumentParser = commands.add_parser(name, help=text.summary, description=f"{text.summary}. {text.description}")
    return added
