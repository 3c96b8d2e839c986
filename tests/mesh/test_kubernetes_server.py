"""The manifest of the server: what is in it holds together, and runs."""

import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extauthz import envoy_config
from extauthz.config import load_config
from extauthz.documents import read_documents
from mesh.address import free_addresses
from mesh.processes import Process, accepts, answers
from tests.conftest import PROJECT

MANIFEST = PROJECT / "mesh" / "kubernetes" / "server.yaml"
CONFIG = "/etc/extauthz/extauthz.yaml"
POLICIES = "/etc/extauthz-policies"


def value_of(text: str) -> Any:
    (document,), problems = read_documents(text, "server.yaml")
    assert problems == []
    return document.value


@pytest.fixture
def objects() -> Mapping[str, Any]:
    documents, problems = read_documents(MANIFEST.read_text(), str(MANIFEST))
    assert problems == []
    return {f"{item.value['kind']} {item.value['metadata']['name']}": item.value for item in documents}


@pytest.fixture
def pod(objects: Mapping[str, Any]) -> Any:
    return objects["Deployment extauthz"]["spec"]["template"]["spec"]


def test_its_objects_find_each_other(objects: Mapping[str, Any], pod: Any) -> None:
    """The Service its pods, the pods their ConfigMaps and their account."""
    deployment = objects["Deployment extauthz"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert objects["Service extauthz"]["spec"]["selector"] == deployment["selector"]["matchLabels"] == labels
    assert f"ServiceAccount {pod['serviceAccountName']}" in objects
    for volume in pod["volumes"]:
        assert f"ConfigMap {volume['configMap']['name']}" in objects
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert all(mount["readOnly"] for mount in mounts.values())
    assert mounts.keys() == {str(Path(CONFIG).parent), POLICIES}
    assert container["args"] == ["serve", "--config", CONFIG]


def test_ports_are_those_of_the_configuration(objects: Mapping[str, Any], pod: Any, tmp_path: Path) -> None:
    """Of the container, of the probes and of the Service, which is the one that Istio is told of."""
    file = tmp_path / "extauthz.yaml"
    file.write_text(objects["ConfigMap extauthz"]["data"]["extauthz.yaml"])
    config = load_config(str(file), {})
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(config.listen.check.address) == f"0.0.0.0:{ports['grpc-check']}"
    assert str(config.listen.admin.address) == f"0.0.0.0:{ports['admin']}"
    for probe, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}
    (port,) = objects["Service extauthz"]["spec"]["ports"]
    assert (port["targetPort"], port["appProtocol"]) == ("grpc-check", "grpc")
    istio = envoy_config.render("istio")
    assert f"port: {port['port']}\n" in istio
    assert 'service: "extauthz.extauthz.svc.cluster.local"' in istio
    assert pod["terminationGracePeriodSeconds"] > config.check.drain_delay + config.check.grace


def test_it_is_hardened(pod: Any) -> None:
    """No root, no capability, nothing to write to, no token of the cluster."""
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    (user,) = re.findall(r"^USER (\d+):", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user)


def test_what_is_in_it_runs(objects: Mapping[str, Any], pod: Any, tmp_path: Path) -> None:
    """The container's own arguments, with its folders here, mounted as the kubelet does, and its ports on loopback."""
    check, admin = free_addresses(0, 0)
    here = {"0.0.0.0:9000": check, "0.0.0.0:8081": admin, POLICIES: str(tmp_path / "extauthz-policies")}
    for volume in pod["volumes"]:
        (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == volume["name"]]
        folder = tmp_path / Path(mount["mountPath"]).name
        (folder / "..2026").mkdir(parents=True)
        (folder / "..data").symlink_to("..2026")
        for name, text in objects[f"ConfigMap {volume['configMap']['name']}"]["data"].items():
            (folder / "..2026" / name).write_text(re.sub("|".join(map(re.escape, here)), lambda m: here[m[0]], text))
            (folder / name).symlink_to(f"..data/{name}")
    arguments = [word.replace("/etc/", f"{tmp_path}/") for word in pod["containers"][0]["args"]]
    probe = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
    command = [sys.executable, "-m", "extauthz", *arguments]
    ready = [answers(f"http://{admin}{probe}"), accepts(check)]
    with Process("extauthz", command, log=tmp_path / "log", ready=ready, directory=tmp_path) as server:
        server.signal(signal.SIGINT)
    assert '"policies loaded", "generation": 1, "files": 1' in (tmp_path / "log").read_text()
