"""A gateway on a bench, for every test of the services."""

import pytest
from rig import KEY, Rig


@pytest.fixture
async def rig(tmp_path):
    rig = Rig(tmp_path, keys={"office-1": KEY.public})
    yield rig
    await rig.stop()
