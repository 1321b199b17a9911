"""Only what setup.cfg cannot say: one file goes into site-packages itself, also in editable installs."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

AUTOLOAD = "sb3_quantum_autoload.py"


class BuildPyWithAutoload(build_py):
    """
    Copies the autoload module as a real file. torch calls it at every import through an entry point; as a module of an
    editable install it would be looked up in the checkout, and a moved checkout would then break ``import torch``.
    """

    def _target(self) -> Path:
        if self.editable_mode:
            return Path(self.get_finalized_command("install").install_lib) / AUTOLOAD
        return Path(self.build_lib) / AUTOLOAD

    def run(self) -> None:
        super().run()
        target = self._target()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(AUTOLOAD, str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(self._target())]


setup(cmdclass={"build_py": BuildPyWithAutoload})
