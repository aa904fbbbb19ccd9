"""What all tests share: where packages are installed, a skip for want of one is a failure."""

import os

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skip into a failure when GATEWAY_TEST_NO_SKIP is set."""
    report = yield
    reason = str(call.excinfo.value) if call.excinfo else ""
    for_want_of_a_package = report.skipped and "apt install" in reason
    if for_want_of_a_package and os.environ.get("GATEWAY_TEST_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which is not allowed here: {reason}"
    return report
