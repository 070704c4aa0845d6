"""Commits that come while one is on the way are asked for together; a failure fails them all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daughter.pusher.group_commit import Answer, GroupCommit, Line
from daughter.pusher.session import Session
from daughter.pusher.trouble import RoadError
from tests.peers import wait_until

# Answers one manifest for each file that appears, and notes how many items each one had.
_SIGNER = """
import json, pathlib, sys, time
top = pathlib.Path(sys.argv[1])
for number, line in enumerate(sys.stdin):
    names = [item["name"] for item in json.loads(line)["items"]]
    (top / f"asked-{number}").write_text(" ".join(names))
    while not (top / f"go-{number}").exists():
        time.sleep(0.01)
    if (top / f"go-{number}").read_text():
        sys.exit(1)
    answers = [{"name": name, "kind": "landed"} for name in names]
    print(json.dumps({"answers": answers}), flush=True)
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session([sys.executable, "-c", _SIGNER, str(tmp_path)], tmp_path / "stderr")
    yield made
    made.close()


def lines(*names: str) -> list[Line]:
    return [Line(name, "low", 1) for name in names]


def commit_three(commits: GroupCommit, pool: ThreadPoolExecutor, top: Path) -> list:
    """One on the way, and two that wait for it."""
    futures = [pool.submit(commits.commit, lines("a", "b"))]
    wait_until((top / "asked-0").exists, "the first is asked for")
    futures += [pool.submit(commits.commit, lines(name)) for name in "cd"]
    wait_until(lambda: len(commits._waiting) == 2, "the others wait")
    return futures


def test_those_that_wait_share_the_next_manifest(session: Session, tmp_path: Path) -> None:
    commits = GroupCommit(session, timeout_s=60)
    with ThreadPoolExecutor(3) as pool:
        futures = commit_three(commits, pool, tmp_path)
        for number in range(2):
            (tmp_path / f"go-{number}").touch()
        answers = [set(future.result(60)) for future in futures]
    assert answers[0] == {Answer("a", "landed"), Answer("b", "landed")}
    assert answers[1] == answers[2] == {Answer("c", "landed"), Answer("d", "landed")}
    assert sorted((tmp_path / "asked-1").read_text().split()) == ["c", "d"]
    assert not (tmp_path / "asked-2").exists()


def test_after_a_failure_all_fail_at_once(session: Session, tmp_path: Path) -> None:
    commits = GroupCommit(session, timeout_s=60)
    with ThreadPoolExecutor(3) as pool:
        futures = commit_three(commits, pool, tmp_path)
        (tmp_path / "go-0").write_text("die")
        for future in futures:
            with pytest.raises(RoadError):
                future.result(60)
    with pytest.raises(RoadError):
        commits.commit(lines("e"))
    assert not (tmp_path / "asked-1").exists()
