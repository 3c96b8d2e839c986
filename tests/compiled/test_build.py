"""What `make compiled` takes: modules that mean the same as machine code."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compiled_build", PROJECT / "compiled" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = load()


@pytest.mark.parametrize("source", BUILD.sources())
def test_no_class_has_a_decorator_that_the_compiler_does_not_know(source: str) -> None:
    """It would compare the values of one by identity, and so deny or allow what the source does not."""
    tree = ast.parse((PROJECT / source).read_text())
    for found in ast.walk(tree):
        if isinstance(found, ast.ClassDef):
            names = [ast.unparse(decorator).partition("(")[0] for decorator in found.decorator_list]
            assert set(names) <= {"dataclass"}, found.name


def test_only_the_decision_path_is_compiled() -> None:
    """Rooms that wait for others, read files or talk to people gain nothing."""
    rooms = {source.split("/")[1] for source in BUILD.sources()}
    assert rooms == {"canonical", "check", "identity", "limits", "policy", "serving", "telemetry", "wire"}
    assert len(set(BUILD.sources())) == len(BUILD.sources())


def test_all_of_it_runs_in_one_form() -> None:
    """Either every module is machine code or none is: a part of an older build would be neither."""
    names = [source.removesuffix(".py").replace("/", ".") for source in BUILD.sources()]
    for name in names:
        importlib.import_module(name)
    forms = {str(sys.modules[name].__file__).endswith(".py") for name in names}
    assert len(forms) == 1
