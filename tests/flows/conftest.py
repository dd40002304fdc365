"""What tests of several rooms need."""

from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness

from tests.waiting import LONG_ENOUGH


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the module's own."""
    with prefect_test_harness(server_startup_timeout=int(LONG_ENOUGH)):
        yield
