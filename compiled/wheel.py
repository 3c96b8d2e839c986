"""A wheel with machine code in it, if `compiled/build.py` has made some: then it is for one platform and one Python.

Without any the wheel is for all of them, as ever. Called by hatchling, which knows neither the modules, as git ignores them,
nor the one of them that stands beside the package.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["MachineCode"]


class MachineCode(BuildHookInterface):  # type: ignore[type-arg]
    """Adds what there is to wheels; an editable install finds it where it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what belongs to the wheel, and for whom it is."""
        shared = list(Path(self.root).glob("extauthz__mypyc.*"))
        if version == "editable" or not shared:
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += ["extauthz/**/*.so", "extauthz/**/*.pyd"]
        build_data["force_include"].update({str(file): file.name for file in shared})
