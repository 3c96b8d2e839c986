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


def test_what_lets_others_run_is_not_compiled() -> None:
    """Only the interpreter looks whether another thread waits for it."""
    assert (PROJECT / "extauthz/policy/pace.py").exists()
    assert "extauthz/policy/pace.py" not in BUILD.sources()


def test_all_of_it_runs_in_one_form() -> None:
    """Either every module is machine code or none is: a part of an older build would be neither."""
    names = [source.removesuffix(".py").replace("/", ".") for source in BUILD.sources()]
    for name in names:
        importlib.import_module(name)
    forms = {str(sys.modules[name].__file__).endswith(".py") for name in names}
    assert len(forms) == 1


def test_a_copy_is_compiled_anew_when_a_source_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only then; what it is compiled from is all of the package, and none of what was compiled before."""
    project, folder = tmp_path / "project", tmp_path / "copy"
    package = project / "extauthz" / "room"
    package.mkdir(parents=True)
    (package / "noun.py").write_text("one = 1")
    (package / "noun.cpython-311.so").write_text("of another time")
    monkeypatch.setattr(BUILD, "PROJECT", project)
    monkeypatch.setattr(BUILD, "__file__", str(project / "build.py"))
    (project / "build.py").touch()
    compiled: list[Path] = []
    monkeypatch.setattr(BUILD, "build", compiled.append)
    assert BUILD.build_into(folder)
    assert [file.name for file in (folder / "extauthz" / "room").iterdir()] == ["noun.py"]
    assert not BUILD.build_into(folder)
    (package / "noun.py").write_text("one = 2")
    assert BUILD.build_into(folder)
    assert (folder / "extauthz" / "room" / "noun.py").read_text() == "one = 2"
    assert compiled == [folder, folder]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A copy takes the place of what is there."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="holds something else"):
        BUILD.build_into(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
