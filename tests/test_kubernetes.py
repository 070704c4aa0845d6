"""kubernetes/ is right by Kubernetes' own schemas, and the same as the compose files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tackybox.config import load_daughter, load_mother
from tests.tree import ROOT

OLDEST = "1.28"
BOXES = {"mother": load_mother, "daughter": load_daughter}
BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def manifest_text(box: str) -> str:
    return (ROOT / "kubernetes" / f"{box}.yaml").read_text()


def manifests(box: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest_text(box)))


def one(box: str, kind: str, number: int = 0) -> dict[str, Any]:
    return [document for document in manifests(box) if document["kind"] == kind][number]


def pod(box: str) -> dict[str, Any]:
    spec = one(box, "StatefulSet")["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def compose(box: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / f"docker-compose.{box}.yml").read_text()))


def size_bytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([kmg]|[KMG]i)?", str(text)).groups()
    return int(number) * BINARY.get(unit, 1)


def default(text: str) -> str:
    """What compose makes of `text` where nothing is set."""
    return re.sub(r"\$\{\w+:?-([^{}]*)\}", r"\1", text)


def pairs() -> list[Any]:
    """Each container, and the compose file's service of the same name."""
    return [
        pytest.param(box, container, compose(box)["services"][container["name"]],
                     id=container["name"])
        for box in BOXES for container in pod(box)["containers"]
    ]  # fmt: skip


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", sorted((ROOT / "kubernetes").glob("*.yaml")), ids=lambda p: p.name)
def test_the_manifests_are_right_by_kubernetes_own_schemas(path: Path, version: str) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    spec = next(d for d in documents if d["kind"] == "StatefulSet")
    spec["spec"]["template"]["spec"]["restartpolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spec, version, strict=True)


def test_there_is_a_manifest_for_each_compose_file_and_each_of_its_parts() -> None:
    assert {p.stem for p in (ROOT / "kubernetes").glob("*.yaml")} == set(BOXES)
    for box in BOXES:
        ours = {name for name, one in compose(box)["services"].items() if "build" in one}
        assert {container["name"] for container in pod(box)["containers"]} == ours


@pytest.mark.parametrize(("box", "container", "service"), pairs())
def test_image_port_and_limits_are_those_of_compose(
    box: str, container: dict[str, Any], service: dict[str, Any]
) -> None:
    assert container["image"] == default(service["image"])
    ports = [int(port.rpartition(":")[2]) for port in service.get("ports", [])]
    assert [port["containerPort"] for port in container.get("ports", [])] == ports
    served = {p["targetPort"]: p["port"] for p in one(box, "Service")["spec"]["ports"]}
    assert [served[port["name"]] for port in container.get("ports", [])] == ports
    limits = service["deploy"]["resources"]["limits"]
    assert size_bytes(container["resources"]["limits"]["memory"]) == size_bytes(limits["memory"])


@pytest.mark.parametrize(("box", "container", "service"), pairs())
def test_it_is_confined_as_in_compose(
    box: str, container: dict[str, Any], service: dict[str, Any]
) -> None:
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] is service["read_only"] is True
    assert confined["capabilities"]["drop"] == service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert confined["allowPrivilegeEscalation"] is False
    recipe = (ROOT / "container" / "Dockerfile").read_text()
    user = int(re.search(r"useradd --uid (\d+)", recipe)[1])
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        assert pod(box)["securityContext"][key] == user
    assert f"{pod(box)['terminationGracePeriodSeconds']}s" == service["stop_grace_period"]


@pytest.mark.parametrize(("box", "container", "service"), pairs())
def test_the_same_places_are_mounted(
    box: str, container: dict[str, Any], service: dict[str, Any]
) -> None:
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    short = [default(v) for v in service["volumes"] if isinstance(v, str)]
    tmp = next(v for v in service["volumes"] if isinstance(v, dict))
    places = {volume.split(":")[1]: volume.split(":")[0] for volume in short}
    assert places.pop("/config/tackybox.yml") == "/dev/null"
    assert mounted.pop("/config") == "config"
    name = mounted.pop("/tmp")
    (volume,) = [v for v in pod(box)["volumes"] if v["name"] == name]
    assert tmp["target"] == "/tmp"
    assert size_bytes(volume["emptyDir"]["sizeLimit"]) == tmp["tmpfs"]["size"]
    assert mounted == places
    claims = one(box, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert set(places.values()) <= {claim["metadata"]["name"] for claim in claims}


@pytest.mark.parametrize(("box", "container", "service"), pairs())
def test_liveness_is_the_images_health_check(
    box: str, container: dict[str, Any], service: dict[str, Any]
) -> None:
    recipe = (ROOT / "container" / "Dockerfile").read_text()
    numbers = dict(re.findall(r"--(interval|timeout|start-period|retries)=(\d+)", recipe))
    probe = container["livenessProbe"]
    keys = ("periodSeconds", "timeoutSeconds", "initialDelaySeconds", "failureThreshold")
    assert [probe[key] for key in keys] == [int(number) for number in numbers.values()]
    conf = (ROOT / service["build"] / "image.conf").read_text()
    module = re.search(r"MODULE=(\S+)", conf)[1]
    assert probe["exec"]["command"] == ["tackybox", "health", module]
    if "readinessProbe" in container:
        assert container["readinessProbe"]["exec"] == probe["exec"]
    is_first = container["ports"][0]["name"] in ("ssh", "dicom") if "ports" in container else False
    assert ("readinessProbe" in container) == is_first


def test_archives_reports_come_to_the_port_that_the_forwarder_listens_at() -> None:
    """Only where a port was set: to be asked for commitment an archive must know that port."""
    mother = compose("mother")
    (published,) = mother["services"]["forwarder"]["ports"]
    assert published == "${TACKYBOX_REPORT_PORT:-127.0.0.1:}:11112"
    assert mother["x-settings"]["TACKYBOX_REPORT_PORT"] == "${TACKYBOX_REPORT_PORT:+11112}"
    forwarder = next(c for c in pod("mother")["containers"] if c["name"] == "forwarder")
    (named,) = re.findall(r'# TACKYBOX_REPORT_PORT: "(\d+)"', manifest_text("mother"))
    assert [port["containerPort"] for port in forwarder["ports"]] == [int(named)] == [11112]


@pytest.mark.parametrize("box", BOXES)
def test_the_settings_are_composes_and_make_a_box(box: str, tmp_path: Path) -> None:
    more = tmp_path / "tackybox.yml"
    more.write_text(one(box, "ConfigMap", 1)["data"]["tackybox.yml"])
    settings = one(box, "ConfigMap")["data"]
    known = {key for service in compose(box)["services"].values() for key in service["environment"]}
    assert set(settings) <= known
    required = {
        key for key, value in compose(box)["x-settings"].items() if value.startswith(f"${{{key}:?")
    }
    assert required <= set(settings)
    for container in pod(box)["containers"]:
        places = {variable["name"]: variable["value"] for variable in container["env"]}
        assert places.items() <= compose(box)["x-settings"].items()
        config = BOXES[box]({**settings, **places, "TACKYBOX_CONFIG": str(more)})
        assert config.name == one(box, "StatefulSet")["metadata"]["name"]


@pytest.mark.parametrize("box", BOXES)
def test_a_second_box_is_the_first_under_another_name(box: str) -> None:
    """As the manifest's first lines say; nothing of the first one may be left in it."""
    text = manifest_text(box)
    line = re.search(r"sed s/(\S+)/(\S+)/g", text)
    other = list(yaml.safe_load_all(text.replace(line[1], line[2])))
    names = {(d["kind"], d["metadata"]["name"]) for d in manifests(box)}
    assert not names & {(d["kind"], d["metadata"]["name"]) for d in other}
    selector = {d["kind"]: d["spec"]["selector"] for d in other if "selector" in d.get("spec", {})}
    labels = other[-1]["spec"]["template"]["metadata"]["labels"]
    assert selector["Service"].items() <= labels.items()
    assert selector["StatefulSet"]["matchLabels"] == labels
    assert line[1] not in str(labels)
