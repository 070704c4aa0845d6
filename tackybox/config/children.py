"""The environment of a program of ours that we start ourselves, on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tackybox
from tackybox.config.loading import PREFIX, variable


def child_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Our environment without its own settings, with `settings` (field name to value) instead."""
    environment = {k: v for k, v in same_environment().items() if not k.startswith(PREFIX)}
    return environment | {f"{PREFIX}{key.upper()}": str(value) for key, value in settings.items()}


def same_environment() -> dict[str, str]:
    """Our environment with its settings, in which our modules are found wherever we stand."""
    return {**os.environ, "PYTHONPATH": str(Path(next(iter(tackybox.__path__))).parent)}


def changed_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """As `same_environment`, with `settings` (field name to value) instead of ours."""
    changed = {variable(key): value for key, value in settings.items()}
    from_files = {f"{name}_FILE" for name in changed}
    return {k: v for k, v in same_environment().items() if k not in from_files} | changed
