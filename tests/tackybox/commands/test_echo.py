"""`tackybox echo`, as an operator calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tackybox.__main__ import run
from tackybox.demo.stack import free_port
from tackybox.errors import UsageError
from tests.peers import storescp


def test_an_archive_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with storescp(tmp_path / "scp") as peer:
        assert run(["echo", peer.address]) == 0
    assert f"ok  {peer.address} answers" in capsys.readouterr().out


def test_one_that_is_not_is_69_and_json_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with storescp(tmp_path / "scp") as peer:
        nobody = f"NOBODY@127.0.0.1:{free_port()}"
        assert run(["echo", peer.address, nobody, "--json"]) == 69
    there, missing = json.loads(capsys.readouterr().out)
    assert there["ok"] and not missing["ok"]
    assert missing["failure"] == "connection refused"
    assert missing["peer"] == nobody


def test_a_mothers_own_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with storescp(tmp_path / "scp") as peer:
        for name, value in {
            "NAME": "main", "AET": "MOTHER", "SPOOL": str(tmp_path), "ARCHIVES": peer.address,
        }.items():  # fmt: skip
            monkeypatch.setenv(f"TACKYBOX_{name}", value)
        assert run(["echo", "--archives"]) == 0
    assert peer.address in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["A@h:1", "--calling", "x" * 17]])
def test_a_bad_command_line_is_one_sentence(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        run(["echo", *arguments])
