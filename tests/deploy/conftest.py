"""Where the files under test are, and what only some machines have."""

import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The directory of the files for installation."""
    return REPOSITORY / "deploy"


@pytest.fixture(scope="session")
def program():
    """Finds a system program, or skips with the way to get it."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin")
        if path is None:
            pytest.skip(f"{name} is missing; get it with: sudo apt install {package}")
        return path

    return find
