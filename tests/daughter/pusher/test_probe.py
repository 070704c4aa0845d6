"""The road to each mother is tried as the pusher would take it, against a real inbox."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daughter.pusher.rsync import _clock_offset
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Mother, Stack, free_port, python
from tackybox.spool.identity import read_identity
from tests.peers import require, wait_until


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    with Stack(tmp_path) as running:
        running.daughter_key("north")
        yield running


@pytest.fixture
def mother(stack: Stack) -> Mother:
    return stack.start_mother("mother", f"PACS@{LOOPBACK}:9")


def probe(stack: Stack, destinations: str, **settings: object) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and lines of a daughter that may be let in."""
    settings = {
        "name": "north", "aet": "NORTH", "spool": stack.workdir / "north",
        "destinations": destinations, "ssh_key": stack.key("north"),
        "known_hosts": stack.workdir / "keys" / "known_hosts", **settings,
    }  # fmt: skip
    done = subprocess.run(
        python("daughter.pusher.probe"), env=child_environment(settings),
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def name(destination: str) -> str:
    return destination.rpartition("@")[2].replace(":", "_")


def test_a_mother_who_lets_us_in_says_which_spool_she_has(stack: Stack, mother: Mother) -> None:
    identity = read_identity(mother.spool)[0]
    code, (road,) = probe(stack, mother.destination)
    clock = road.pop("clock")
    assert (code, road) == (0, {
        "name": name(mother.destination), "ok": True, "sentence": "", "advice": "",
        "identity": identity,
    })  # fmt: skip
    assert abs(clock["seconds"]) <= clock["uncertainty_s"] < 30
    assert not (stack.workdir / "north").exists()


def test_another_host_key_than_the_pinned_one_is_named(stack: Stack, mother: Mother) -> None:
    other = stack.key("other").with_suffix(".pub").read_text()
    place = mother.destination.partition("@")[2].replace(LOOPBACK, f"[{LOOPBACK}]")
    known_hosts = stack.workdir / "other_hosts"
    known_hosts.write_text(f"{place} {other}")
    code, (road,) = probe(stack, mother.destination, known_hosts=known_hosts)
    assert (code, road["ok"], road["identity"]) == (69, False, "")
    assert "host key is not the pinned one" in road["sentence"]
    assert road["clock"] is None
    known_hosts.write_text("")
    _, (road,) = probe(stack, mother.destination, known_hosts=known_hosts)
    assert "no host key of hers is pinned" in road["sentence"]


def test_a_key_that_she_does_not_know_is_named(stack: Stack, mother: Mother) -> None:
    code, (road,) = probe(stack, mother.destination, ssh_key=stack.key("stranger"))
    assert (code, road["ok"]) == (69, False)
    assert "does not know our key" in road["sentence"]
    assert "public key on the mother" in road["advice"]


def test_every_mother_of_every_group_is_tried_in_order(stack: Stack, mother: Mother) -> None:
    nobody = f"relay@{LOOPBACK}:{free_port()}"
    code, roads = probe(stack, f"{nobody}|{mother.destination};relay@no-such-host.invalid")
    assert code == 69
    assert [(road["name"], road["ok"]) for road in roads] == [
        (name(nobody), False),
        (name(mother.destination), True),
        ("no-such-host.invalid_2222", False),
    ]
    assert roads[0]["sentence"] == "nothing listens at that port"
    assert "DNS" in roads[2]["sentence"]


def test_it_may_run_beside_the_pusher(stack: Stack, mother: Mother) -> None:
    stack.start_daughter("north", mother.destination)
    log = stack.workdir / "logs" / "north-pusher.log"
    wait_until(lambda: "mother reached" in log.read_text(), "the pusher's road is open")
    code, (road,) = probe(stack, mother.destination)
    assert (code, road["ok"]) == (0, True)
    assert "mother not reached" not in log.read_text()


@pytest.mark.parametrize("said", [None, 5, "soon", "2026-99-01T00:00:00+00:00", {}])
def test_a_greeting_without_a_time_is_an_older_mothers(said: object) -> None:
    assert _clock_offset(said, 0.0, 1.0) is None


def test_a_time_is_taken_as_said_in_the_middle_of_the_round_trip() -> None:
    offset = _clock_offset("1970-01-01T00:01:40+00:00", 30.0, 34.0)
    assert offset is not None
    assert (offset.seconds, offset.uncertainty_s) == (68.0, 2.0)
