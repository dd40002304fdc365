"""What becomes of a request when the disk does not take what it brings."""

import errno

import pytest

from api.http.storage import StorageFull, room_or_storage_full
from flows.errors import with_cause


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number: int) -> None:
    error = OSError(number, "full")
    with pytest.raises(StorageFull) as raised, room_or_storage_full():
        raise error
    assert raised.value.__cause__ is error


def test_another_error_stays_what_it_is() -> None:
    error = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken") as raised, room_or_storage_full():
        raise error
    assert raised.value is error
    assert error.__cause__ is None
    assert with_cause(error) == "[Errno 5] broken"
