"""Two sites and two archive networks, as their users run them, with everything real in between."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tackybox.demo.phantom import write_ct_study
from tests.containers.compose import (
    PASSWORDS,
    Box,
    database,
    daughter,
    docker,
    gateway,
    mother,
    peer,
    run,
    scan,
    started,
)
from tests.journey.conftest import digests, files
from tests.peers import wait_until
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(600)
SERVICES = {"daughter": ("receiver", "pusher"), "mother": ("inbox", "forwarder")}


@dataclass
class World:
    """North sends to both mothers, south to the main one."""

    main: Box
    second: Box
    north: Box
    south: Box
    orthanc: str
    kept: Path

    @property
    def boxes(self) -> tuple[Box, ...]:
        return self.main, self.second, self.north, self.south

    def in_orthanc(self) -> set[str]:
        """SOP Instance UIDs in Orthanc."""
        url = "http://127.0.0.1:8042/instances?expand"
        answer = docker("exec", self.orthanc, "curl", "--silent", "--fail", url)
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in json.loads(answer)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The four boxes with their schemas loaded, and the two archives."""
    directory = tmp_path_factory.mktemp("boxes")
    kept = directory / "kept"
    kept.mkdir(mode=0o777)
    main = mother("main", directory, "ORTHANC@pacs:4242", **database("mysql"))
    second = mother("second", directory, "STORESCP@scp:11112", **database("mariadb"))
    for box in (main, second):
        password = box.settings[PASSWORDS["boxes"]]
        box.settings["TACKYBOX_SQL"] = f"boxes:{password}@database:3306/tackybox"
        box.write_env()
    with started(main, second):
        sql = {"TACKYBOX_SQL": _central(main)}
        wait_until(lambda: main.health("inbox") == "healthy", "the inbox is healthy", 120)
        wait_until(lambda: second.health("inbox") == "healthy", "the inbox is healthy", 120)
        north = daughter("north-clinic", directory, main, second, **sql)
        south = daughter("south-clinic", directory, main, **sql)
        with (
            started(north, south),
            peer("pacs", main.network, "Orthanc", "/etc/orthanc.json") as orthanc,
            peer(
                "scp", second.network, "storescp", "+xa", "-pm", "+B", "-uf", "-aet", "STORESCP",
                "-od", "/kept", "11112", mounts={kept: "/kept"},
            ),
        ):  # fmt: skip
            for box in (main, second):
                wait_until(lambda b=box: b.health("database") == "healthy", "a database", 180)
                load_schema(box)
            yield World(main, second, north, south, orthanc, kept)


def _central(box: Box) -> str:
    port = str(box.settings["TACKYBOX_DB_PUBLISH"]).rpartition(":")[2]
    return f"boxes:{box.settings[PASSWORDS['boxes']]}@{gateway()}:{port}/tackybox"


def load_schema(box: Box) -> None:
    """As README.md tells an administrator to."""
    with (ROOT / "tackybox.sql").open() as schema:
        subprocess.run(
            ["docker", "exec", "-i", box.container("database"), "sh", "-c",
             'MYSQL_PWD="$MYSQL_PASSWORD" exec $(command -v mariadb || command -v mysql) '
             '-u"$MYSQL_USER" "$MYSQL_DATABASE"'],
            stdin=schema, check=True, capture_output=True,
        )  # fmt: skip


def study(directory: Path, slices: int) -> tuple[str, list[Path]]:
    """A new CT study in a directory that every user may read."""
    uid, paths = write_ct_study(directory, slices)
    for path in (directory, *paths):
        path.chmod(0o755)
    return uid, paths


def drained(world: World) -> bool:
    """Whether nothing waits, nothing is in hand and nothing is kept any more on any box."""
    for box in world.boxes:
        status = json.loads(
            box.tackybox(SERVICES[box.role][1], "status", "--json", check=False) or "{}"
        )
        counts = [
            count
            for outlet in status.get("outlets", [{"lanes": [{"waiting": 1}]}])
            for lane in outlet["lanes"]
            for key, count in lane.items()
            if key not in ("lane", "quarantined") and isinstance(count, int)
        ]
        if any(counts):
            return False
    return True


def test_every_service_is_healthy(world: World) -> None:
    for box in world.boxes:
        for service in SERVICES[box.role]:
            wait_until(
                lambda b=box, s=service: b.health(s) == "healthy", f"{box.name} {service}", 120
            )


def test_the_mothers_know_their_daughters(world: World) -> None:
    known = {
        box.name: {one["name"] for one in json.loads(box.tackybox("inbox", "daughters", "--json"))}
        for box in (world.main, world.second)
    }
    assert known == {"main": {"north-clinic", "south-clinic"}, "second": {"north-clinic"}}


def test_images_reach_both_archives_unchanged(world: World, tmp_path: Path) -> None:
    uid, paths = study(tmp_path / "north", 20)
    _, southern = study(tmp_path / "south", 5)
    scan(world.north, tmp_path / "north")
    scan(world.south, tmp_path / "south")
    wait_until(lambda: len(world.in_orthanc()) == 25, "Orthanc has the images of both", 120)
    wait_until(lambda: len(files(world.kept)) == 20, "storescp has those of north", 120)
    assert digests(files(world.kept)) == digests(paths)
    where = "SELECT images, at_archive FROM where_is_my_study WHERE study_instance_uid = "
    assert len(southern) == 5
    wait_until(
        lambda: world.main.sql(f"{where}'{uid}'").split() == ["20", "20"],
        "MySQL knows the way from the scanner on", 60,
    )  # fmt: skip
    wait_until(
        lambda: int(world.second.sql("SELECT COUNT(*) FROM event WHERE kind = 'STORED'")) == 20,
        "MariaDB has the second mother's events", 60,
    )  # fmt: skip
    boxes = world.main.sql("SELECT DISTINCT box FROM event ORDER BY box").split()
    assert boxes == ["main", "north-clinic", "south-clinic"]


def test_the_schema_may_be_loaded_again_and_keeps_every_row(world: World) -> None:
    for box in (world.main, world.second):
        before = int(box.sql("SELECT COUNT(*) FROM event WHERE box = 'main' OR box = 'second'"))
        load_schema(box)
        assert int(box.sql("SELECT COUNT(*) FROM event")) >= before > 0


def test_each_account_may_do_its_work_and_no_more(world: World) -> None:
    for box in (world.main, world.second):
        assert box.sql("SELECT COUNT(*) FROM where_is_my_study").strip().isdigit()
        for user, statement in (
            ("reader", "UPDATE event SET box = 'x'"),
            ("reader", "DELETE FROM event"),
            ("boxes", "DELETE FROM event"),
            ("boxes", "DROP TABLE event"),
            ("boxes", "CREATE TABLE other (n INT)"),
        ):
            with pytest.raises(AssertionError, match="denied"):
                box.sql(statement, user)


def test_check_and_a_test_study_pass_on_a_daughter(world: World) -> None:
    checked = json.loads(world.south.tackybox("pusher", "check", "--json"))
    assert checked["ok"], [f for f in checked["findings"] if f["level"] != "pass"]
    done = world.south.tackybox("receiver", "check", "--relay", check=False)
    assert "stored" in done


@pytest.mark.parametrize("service", ["receiver", "pusher", "inbox", "forwarder", "database"])
def test_a_service_killed_in_mid_transfer_loses_nothing(
    world: World, service: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    _, paths = study(tmp_path, 60)
    record_property("answered", len(paths))
    before = len(files(world.kept))
    box = world.north if service in SERVICES["daughter"] else world.second
    sender = subprocess.Popen(
        ["docker", "run", "--rm", "--network", world.north.network, "--volume",
         f"{tmp_path}:/images:ro", "--env", "TCP_NODELAY=1", "tackybox/test-peers", "storescu",
         "--scan-directories", "-aet", "SCANNER", "-aec", "TACKYBOX", "receiver", "11112",
         "/images"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: len(files(world.kept)) >= before + 5, "some have arrived", 120)
    box.compose("kill", "--signal", "KILL", service)
    box.up()
    sender.wait(120)
    if service == "receiver":  # the scanner saw its association break, and sends again
        wait_until(lambda: world.north.health("receiver") == "healthy", "it is back", 120)
        scan(world.north, tmp_path)
    wanted = set(digests(paths))
    wait_until(lambda: wanted <= set(digests(files(world.kept))), "all of them arrive", 180)
    wait_until(lambda: drained(world), "every spool is empty", 180)


def test_all_taken_down_in_mid_transfer_and_up_again(
    world: World, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    _, paths = study(tmp_path, 60)
    record_property("answered", len(paths))
    world.second.compose("stop", "inbox")
    scan(world.north, tmp_path)  # what waits for the second mother stays on the daughter
    world.north.compose("down")
    world.second.compose("rm", "--stop", "--force")  # the archive stays in her network
    for box in (world.north, world.second):
        box.up()
    wanted = set(digests(paths))
    wait_until(lambda: wanted <= set(digests(files(world.kept))), "all of them arrive", 240)
    wait_until(lambda: drained(world), "every spool is empty", 180)


def test_a_revoked_daughter_is_out(world: World) -> None:
    world.main.tackybox("inbox", "daughters", "revoke", "south-clinic")
    wait_until(
        lambda: any("does not know our key" in str(e) for e in world.south.logs("pusher")),
        "the daughter is told", 60,
    )  # fmt: skip


@pytest.mark.parametrize("part", ["receiver", "pusher", "inbox", "forwarder"])
def test_an_image_is_what_it_says(part: str) -> None:
    found = json.loads(docker("image", "inspect", f"tackybox/{part}"))[0]["Config"]
    labels = found["Labels"]
    version = run("sed", "-n", 's/^version = "\\(.*\\)"/\\1/p', "pyproject.toml").strip()
    assert labels["org.opencontainers.image.version"] == version
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert found["User"] == "relay"
    assert found["Healthcheck"]["Test"][0] == "CMD"
    shell = ("run", "--rm", "--entrypoint", "sh", f"tackybox/{part}", "-c")
    assert docker(*shell, "id -u").strip() == "10001"
    assert docker(*shell, "! command -v pip && ! command -v gcc && echo none").strip() == "none"
    if part in ("pusher", "inbox"):  # FACTS: earlier ones have holes
        rsync = docker(*shell, "rsync --version | head -n 1").split()[2]
        assert tuple(int(n) for n in rsync.split(".")) >= (3, 4, 1)
