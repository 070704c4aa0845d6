"""hardlink_builder.sh, on a copy of this tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("daughter/receiver", "daughter/pusher", "mother/inbox", "mother/forwarder")


def build(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tree's own script."""
    return subprocess.run(
        [tree / "hardlink_builder.sh", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the script works on, without links."""
    for name in ("container", "daughter", "mother", "tackybox", "mysql_utilities"):
        ignore = shutil.ignore_patterns("__pycache__", "docker-context", "Dockerfile")
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=ignore if name != "container" else None
        )
    for name in ("hardlink_builder.sh", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def test_this_checkout_is_linked_or_can_be() -> None:
    assert build(ROOT, "build").returncode == 0
    done = build(ROOT, "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_every_part_gets_all_that_its_image_imports(tree: Path) -> None:
    assert build(tree, "--check").returncode == 1
    assert build(tree, "build").returncode == 0
    assert build(tree, "--check").returncode == 0
    for part in PARTS:
        context = tree / part / "docker-context"
        assert (tree / part / "Dockerfile").samefile(tree / "container" / "Dockerfile")
        for shared in ("tackybox", "mysql_utilities", part):
            sources = {
                p.relative_to(tree)
                for p in (tree / shared).rglob("*")
                if p.suffix in (".py", ".sql") and "docker-context" not in p.parts
            }
            assert sources
            for source in sources:
                assert (context / source).samefile(tree / source)


def test_a_link_that_was_split_is_found_and_mended(tree: Path) -> None:
    build(tree, "build")
    source = tree / "tackybox" / "item.py"
    content = source.read_bytes()
    source.unlink()
    source.write_bytes(content)  # as git and most editors write
    done = build(tree, "--check")
    assert done.returncode == 1
    assert done.stdout.count("with the same content") == len(PARTS)
    source.write_bytes(content + b"# more\n")
    assert build(tree, "--check").stdout.count("and it differs") == len(PARTS)
    build(tree, "build")
    assert build(tree, "--check").returncode == 0


def test_what_is_stale_is_found_and_removed(tree: Path) -> None:
    build(tree, "build")
    (tree / "tackybox" / "logs.py").unlink()
    done = build(tree, "--check")
    assert done.returncode == 1
    assert "mother/inbox/docker-context/tackybox/logs.py: stale" in done.stdout
    build(tree, "build")
    assert build(tree, "--check").returncode == 0
    assert not (tree / "mother/inbox/docker-context/tackybox/logs.py").exists()


def test_clean_leaves_the_sources_alone(tree: Path) -> None:
    before = sorted(p.relative_to(tree) for p in tree.rglob("*"))
    build(tree, "build")
    assert build(tree, "--clean").returncode == 0
    assert sorted(p.relative_to(tree) for p in tree.rglob("*")) == before


def test_two_file_systems_are_explained(tree: Path) -> None:
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == tree.stat().st_dev:
        pytest.skip("needs /dev/shm as a second file system")
    elsewhere = Path("/dev/shm") / f"tackybox-test-{os.getpid()}"
    shutil.move(tree / "mother" / "inbox", elsewhere)
    try:
        (tree / "mother" / "inbox").symlink_to(elsewhere)
        done = build(tree, "build")
        assert done.returncode != 0
        assert "two file systems" in done.stderr
    finally:
        shutil.rmtree(elsewhere)


def test_a_wrong_word_is_answered_with_the_right_ones(tree: Path) -> None:
    done = build(tree, "bulid")
    assert done.returncode == 64
    assert "build | --check | --clean" in done.stderr
