"""A newer version over an older one's spool and schema, and back, with items in flight."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tackybox.demo.phantom import write_ct_study
from tests.containers.compose import (
    Box,
    database,
    daughter,
    docker,
    mother,
    peer,
    run,
    scan,
    started,
)
from tests.journey.conftest import digests, files
from tests.peers import wait_until
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(900)
# The first version that ran in containers, by the subject of its commit.
OLDEST = "The gate starts where /tmp may not be executed, as in a container"
PARTS = ("daughter/receiver", "daughter/pusher", "mother/inbox", "mother/forwarder")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The older version's tree, its images tagged `older`."""
    tree = tmp_path_factory.mktemp("older")
    revision = run("git", "log", "--format=%H", "--fixed-strings", f"--grep={OLDEST}").split()
    if not revision:
        pytest.skip("the older version is not in this clone; fetch the whole history")
    archive = subprocess.run(
        ["git", "archive", revision[-1]], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    subprocess.run([tree / "hardlink_builder.sh", "build"], check=True)
    tags = [f"tackybox/{part.partition('/')[2]}:older" for part in PARTS]
    for part, tag in zip(PARTS, tags, strict=True):
        base = "BASE=tackybox/offline/debian"
        docker("build", "--quiet", "--build-arg", base, "--tag", tag, tree / part)
    yield tree
    docker("rmi", "--force", *tags)


def load(box: Box, schema: Path) -> None:
    """Load a schema as the owner."""
    box.sql(schema.read_text(), "tackybox")


def at(box: Box, version: str) -> None:
    """Have a box run this version, as by TACKYBOX_VERSION in its .env."""
    box.settings["TACKYBOX_VERSION"] = version
    box.write_env()
    box.up()


def test_up_and_back_loses_nothing(
    older: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o777)
    kept.chmod(0o777)
    main = mother(
        "upmother", tmp_path, "STORESCP@scp:11112", TACKYBOX_VERSION="older", **database("mysql")
    )
    main.settings["TACKYBOX_SQL"] = (
        f"boxes:{main.settings['TACKYBOX_DB_PASSWORD']}@database:3306/tackybox"
    )
    main.write_env()
    sent: list[Path] = []

    def send(slices: int) -> None:
        directory = tmp_path / f"study-{len(sent)}"
        sent.extend(write_ct_study(directory, slices)[1])
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)
        scan(north, directory)

    with started(main):
        wait_until(lambda: main.health("inbox") == "healthy", "the inbox is healthy", 120)
        wait_until(lambda: main.health("database") == "healthy", "the database is healthy", 180)
        load(main, older / "tackybox.sql")
        north = daughter("upnorth", tmp_path, main, TACKYBOX_VERSION="older")
        with started(north):
            wait_until(lambda: north.health("receiver") == "healthy", "she receives", 120)
            send(8)  # the archive is not there yet: these wait on the mother
            for version, schema in (("latest", ROOT), ("older", ROOT)):
                main.compose("stop", "inbox")
                send(6)  # and these on the daughter
                at(north, version)
                load(main, schema / "tackybox.sql")
                at(main, version)
                wait_until(lambda: north.health("receiver") == "healthy", f"on {version}", 120)
                send(4)
            command = ["storescp", "+xa", "-pm", "+B", "-uf", "-aet", "STORESCP", "-od", "/kept"]
            with peer("scp", main.network, *command, "11112", mounts={kept: "/kept"}):
                wait_until(lambda: len(files(kept)) == len(sent), "all of them arrive", 300)
            assert digests(files(kept)) == digests(sent)
            record_property("answered", len(sent))
            wait_until(
                lambda: int(main.sql("SELECT COUNT(*) FROM event WHERE kind = 'STORED'"))
                == len(sent),
                "and the journal has them all", 120,
            )  # fmt: skip
