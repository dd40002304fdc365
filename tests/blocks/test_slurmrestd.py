"""The block of slurmrestd's credentials, as Prefect's standards want it, and what it lets in."""

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks import SlurmRestCredentials


class TestStandards(BlockStandardTestSuite):
    test_has_a_valid_image = None  # type: ignore[assignment] # it would fetch a logo from the internet

    @pytest.fixture
    def block(self) -> type[Block]:
        return SlurmRestCredentials


@pytest.mark.parametrize("token", ["hush", "SLURM_JWT=hush\n"])
def test_its_token_is_kept_to_itself(token: str) -> None:
    block = SlurmRestCredentials(url="https://h:1/", user="me", token=SecretStr(token))
    assert block.url == "https://h:1"
    assert block.token.get_secret_value() == "hush"
    assert "hush" not in repr(block)
    assert SlurmRestCredentials.model_json_schema()["secret_fields"] == ["token"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "h:1"},
        {"url": "ftp://h"},
        {"url": "http://me:hush@h"},
        {"url": "unix:relative"},
        {"user": "me\nX: y"},
        {"user": ""},
        {"token": ""},
        {"token": "hush\nX: y"},
    ],
)
def test_what_it_does_not_take(wrong: dict[str, str]) -> None:
    keys = {"url": "http://h:1", "user": "me", "token": "hush", **wrong}
    with pytest.raises(ValidationError) as error:
        SlurmRestCredentials.model_validate(keys)
    assert "hush" not in str(error.value)
