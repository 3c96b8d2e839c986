"""Test suites that pages show: each passes with the policies of its section, and reaches every rule of them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from extauthz.app.providers import vouch
from extauthz.check import RequestRules
from extauthz.config import load_config
from extauthz.documents import read_documents
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.workbench.engine import Engine
from extauthz.workbench.suites import Coverage, read_suites, run_case
from extauthz.workbench.suites.reports import coverage_lines, failure_lines
from extauthz.workbench.suites.schema import schema
from tests.conftest import PROJECT

PROVIDERS = """
providers:
- name: corporate
  jwt: {issuer: https://login.example.com/, audiences: [orders]}
  roles: {mayGrant: [user, admin]}
- name: partner
  apiKeys: {folder: keys}
  roles: {mayGrant: [partner]}
- name: mesh
  mesh: {trustDomains: [cluster.local]}
  roles: {map: {"spiffe://cluster.local/ns/batch/sa/worker": worker}, mayGrant: [worker]}
"""
SETTINGS = PolicySettings(providers=frozenset({"corporate", "partner"}), mesh_providers=frozenset({"mesh"}))


@dataclass(frozen=True)
class Section:
    """A section of a page that shows a suite."""

    page: str
    title: str
    policies: str
    suite: str

    def __str__(self) -> str:
        return f"{self.page}: {self.title}"


def sections() -> list[Section]:
    found = []
    for page in sorted((PROJECT / "docs").glob("*.md")):
        for text in re.split(r"^(?=## )", page.read_text("utf-8"), flags=re.MULTILINE):
            blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
            suites = [block for block in blocks if re.search(r"^kind: PolicyTest", block, re.MULTILINE)]
            policies = [block for block in blocks if re.search(r"^kind: AuthPolicy", block, re.MULTILINE)]
            if suites:
                title = text.partition("\n")[0].lstrip("# ")
                found.append(Section(page.name, title, "---\n".join(policies), "---\n".join(suites)))
    return found


def test_the_cookbook_has_twenty_policies() -> None:
    """At least."""
    assert sum(section.page == "cookbook.md" for section in sections()) >= 20


@pytest.mark.parametrize("section", sections(), ids=str)
def test_a_suite_of_the_docs_passes_and_reaches_every_rule(section: Section, tmp_path: Path) -> None:
    """With the policies beside it."""
    (tmp_path / "extauthz.yaml").write_text(PROVIDERS, "utf-8")
    config = load_config(str(tmp_path / "extauthz.yaml"), {})
    file = tmp_path / "a.test.yaml"
    file.write_text(section.suite, "utf-8")
    names = [provider.name for provider in config.providers]
    suites, problems = read_suites([str(file)], group="security.example.com", providers=names, vouch=vouch(config))
    assert [str(problem) for problem in problems] == []
    snapshot = load([PolicyText("policy.yaml", section.policies)], SETTINGS, 1)
    engine, coverage = Engine(snapshot, RequestRules()), Coverage(snapshot)
    told: list[str] = []
    for suite in suites:
        for case in suite.cases:
            outcome = run_case(engine, case)
            coverage.count(outcome)
            if not outcome.passed:
                told += failure_lines(outcome)
    assert told == []
    assert coverage.percent == 100, list(coverage_lines(coverage.rules(), coverage.percent))


def test_suites_of_the_docs_fit_the_published_schema() -> None:
    """The one that editors use; what the form refuses for its shape, it refuses too."""
    published = json.loads((PROJECT / "extauthz/workbench/suites/policytest.schema.json").read_text("utf-8"))
    assert published == schema()
    validator = Draft202012Validator(published)
    for section in sections():
        documents, _ = read_documents(section.suite, "suite")
        for document in documents:
            assert list(validator.iter_errors(document.value)) == [], str(section)
    wrong = {
        "apiVersion": "x/v1",
        "kind": "PolicyTest",
        "metadata": {"name": "a"},
        "spec": {"cases": [{"expct": "allow"}]},
    }
    assert list(validator.iter_errors(wrong))
