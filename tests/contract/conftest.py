"""The API of a live `hako serve`, as far as it needs no KVM: it runs anywhere."""

import pytest

from tests.support.serve import Server


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    with server.api() as connection:
        yield connection
