import pytest
from tests.conformance.notifier import NotifierSuite
from tests.fakes.notifier import MemoryNotifier


class TestMemoryNotifier(NotifierSuite):
    @pytest.fixture
    def receiver(self) -> MemoryNotifier:
        return MemoryNotifier()
