"""Only what setup.cfg cannot say: a README whose links work anywhere, and two files that go into site-packages itself."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

AUTOLOAD = ("sb3_quantum_autoload.py", "sb3_quantum_autoload.pth")
ROOT = Path(__file__).parent


def long_description() -> str:
    """README.md with absolute links, as a package index shows it away from the repository."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    url = config["metadata"]["url"]

    def absolute(link: "re.Match[str]") -> str:
        # Images have to be the file itself, not GitHub's page about it
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({url}/{kind}/main/{link['target']})"

    pattern = r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<target>(?!https?:|#)[^)]+)\)"
    return re.sub(pattern, absolute, (ROOT / "README.md").read_text(encoding="utf-8"))


class BuildPyWithAutoload(build_py):
    """
    Copies the autoload module and the line that calls it as real files. It runs whenever Python starts; as a module of an
    editable install it would be looked up in the checkout, which may have been moved.
    """

    def _targets(self) -> list[Path]:
        folder = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        return [Path(folder) / name for name in AUTOLOAD]

    def run(self) -> None:
        super().run()
        for target in self._targets():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(target.name, str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *map(str, self._targets())]


setup(
    cmdclass={"build_py": BuildPyWithAutoload},
    long_description=long_description(),
    long_description_content_type="text/markdown",
)
