"""An engine with our images on it: `make test-containers` brings both."""

from __future__ import annotations

import subprocess

import pytest

from tests.tree import ROOT

IMAGES = ("receiver", "pusher", "inbox", "forwarder", "offline/mysql", "offline/mariadb")


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    """Skip, saying how to get it, without an engine, compose or an image."""
    for command in (
        ["docker", "info"],
        ["docker", "compose", "version"],
        *(["docker", "image", "inspect", f"tackybox/{image}"] for image in IMAGES),
    ):
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("docker is not installed; make test-containers installs it")
        if done.returncode:
            pytest.skip(f"`{' '.join(command)}` fails; run: make test-containers")
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", "tackybox/test-peers", "tests/containers/peers"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
