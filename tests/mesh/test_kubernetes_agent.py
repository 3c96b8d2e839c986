"""The manifest of a workload with the agent beside it: what is in it holds together, and runs."""

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extauthz.documents import read_documents
from tests.agent.conftest import StartAgent, TokenService, content, until
from tests.agent.conftest import nursery as nursery  # noqa: PLC0414 - a fixture
from tests.agent.conftest import service as service  # noqa: PLC0414 - a fixture
from tests.agent.conftest import start as start  # noqa: PLC0414 - a fixture
from tests.conftest import PROJECT
from tests.owned_server import free_port

MANIFEST = PROJECT / "mesh" / "kubernetes" / "agent.yaml"


@pytest.fixture
def pod() -> Mapping[str, Any]:
    documents, problems = read_documents(MANIFEST.read_text(), str(MANIFEST))
    assert problems == []
    account, deployment = (document.value for document in documents)
    assert (account["kind"], deployment["kind"]) == ("ServiceAccount", "Deployment")
    spec: Mapping[str, Any] = deployment["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    return spec


def test_the_token_is_in_memory_and_for_the_pod_alone(pod: Mapping[str, Any]) -> None:
    """Shared by the two containers, read-only for the workload; nobody is root, and no other token is mounted."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["token"]["emptyDir"]["medium"] == "Memory"
    assert volumes["client"]["secret"]["defaultMode"] == 0o440
    (agent,), (workload,) = pod["initContainers"], pod["containers"]
    assert {"name": "token", "mountPath": "/run/token"} in agent["volumeMounts"]
    assert {"name": "token", "mountPath": "/run/token", "readOnly": True} in workload["volumeMounts"]
    for container in (agent, workload):
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False


def test_the_agent_is_a_sidecar_that_is_probed(pod: Mapping[str, Any]) -> None:
    """It starts before the workload and ends after it; its probes ask the port that it opens."""
    agent = pod["initContainers"][0]
    assert agent["restartPolicy"] == "Always"
    ports = {port["name"]: port["containerPort"] for port in agent["ports"]}
    admin = next(word for word in agent["args"] if word.startswith("--admin="))
    for probe, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}.items():
        assert agent[probe]["httpGet"]["path"] == path
        assert admin == f"--admin=0.0.0.0:{ports[agent[probe]['httpGet']['port']]}"


def test_what_is_in_it_runs(pod: Mapping[str, Any], service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """The container's own arguments, with its folders here, the service beside us and the port on loopback."""
    (tmp_path / "token-volume").mkdir()
    port = free_port()
    here = {
        "/run/token": str(tmp_path / "token-volume"),
        "/etc/billing-client/secret": str(tmp_path / "secret"),
        "0.0.0.0:8082": f"127.0.0.1:{port}",
        "http://extauthz.extauthz.svc:8080": service.url,
    }
    verb, *args = pod["initContainers"][0]["args"]
    assert verb == "agent"
    for there, place in here.items():
        assert any(there in word for word in args), there
        args = [word.replace(there, place) for word in args]
    agent = start(*args, bare=True)
    token = pod["containers"][0]["env"][0]
    assert token["name"] == "TOKEN_FILE"
    file = Path(token["value"].replace("/run/token", here["/run/token"], 1))
    until(lambda: content(file))
    assert content(file) == service.given[0]

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        connection.close()
        return status == 200

    until(ready)
    assert agent.stop() == 0
