"""A folder of wheels made from what is installed here, so that an installer runs without network.

Each dependency is packed again from its installed files; the project itself from its source. pip
then does what it does on a gateway: it resolves, unpacks and links.
"""

import re
import tomllib
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _escaped(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name)


def _pack(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    record = f"{_escaped(name)}-{version}.dist-info/RECORD"
    with zipfile.ZipFile(folder / f"{_escaped(name)}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        listed = "".join(f"{path},,\n" for path in [*files, record])
        wheel.writestr(record, listed)


def _needs(requirements: list[str], extra: str = "") -> list[str]:
    parsed = map(Requirement, requirements)
    return [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": extra})]


def _pack_installed(folder: Path, found: Distribution) -> None:
    name, version = found.metadata["Name"], found.version
    own = f"{_escaped(name)}-{version}.dist-info"
    files = {}
    for path in found.files or []:
        at = Path(path)
        if at.parts[0] == ".." or at.suffix == ".pyc":
            continue
        if at.parts[0].endswith(".dist-info"):
            if at.name not in {"METADATA", "entry_points.txt", "top_level.txt"}:
                continue
            at = Path(own, at.name)
        files[at.as_posix()] = Path(path.locate()).read_bytes()
    files[f"{own}/WHEEL"] = WHEEL.encode()
    _pack(folder, name, version, files)


def pack_project(folder: Path, repository: Path) -> list[str]:
    """The project's wheel. Returns the names of what it needs."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    own = f"{_escaped(name)}-{version}.dist-info"
    files = {
        path.relative_to(repository).as_posix(): path.read_bytes()
        for package in ("gateway", "hardware")
        for path in sorted((repository / package).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    for extra, needs in project["optional-dependencies"].items():
        metadata.append(f"Provides-Extra: {extra}")
        metadata += [f'Requires-Dist: {needed}; extra == "{extra}"' for needed in needs]
    scripts = "".join(f"{key} = {value}\n" for key, value in project["scripts"].items())
    files[f"{own}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{own}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    files[f"{own}/WHEEL"] = WHEEL.encode()
    _pack(folder, name, version, files)
    return _needs(project["dependencies"])


def make_wheels(folder: Path, repository: Path) -> Path:
    """Fill `folder` with the project and everything it needs. Returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = pack_project(folder, repository)
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if _escaped(name).lower() in done:
            continue
        done.add(_escaped(name).lower())
        found = distribution(name)
        _pack_installed(folder, found)
        waiting += _needs(found.requires or [])
    return folder
