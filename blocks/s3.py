"""Credentials of S3, or of another object store that speaks like it."""

import re
from typing import Any

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator


class S3Credentials(Block):
    """Where an object store is, and whose keys it is asked with.

    Name a block of this type as ``block`` of an ``s3`` filesystem. Save it again with new keys before the old
    ones expire; nothing has to be restarted.
    """

    _block_type_name = "S3 Credentials"
    _block_type_slug = "s3-credentials"
    _description = "Read and write the objects of an S3 bucket."
    _documentation_url = HttpUrl("https://developmentseed.org/obstore/latest/")
    _code_example = """
        from blocks import S3Credentials

        store = S3Credentials.load("BLOCK_NAME").store("bucket")
        print(store.list().collect())
    """

    # Else the secrets would be in the messages of mistakes.
    model_config = ConfigDict(hide_input_in_errors=True)

    access_key_id: str = Field(min_length=1, description="The name of the key.")
    secret_access_key: SecretStr = Field(description="The key itself.")
    session_token: SecretStr | None = Field(default=None, description="Of keys for a limited time.")
    region: str = Field(default="us-east-1", min_length=1, description="Where the buckets are.")
    endpoint: str | None = Field(
        default=None,
        description="Address of the server, where that is not Amazon's.",
        examples=["https://s3.example.org", "http://127.0.0.1:9000"],
    )
    path_style: bool = Field(
        default=True, description="Whether the bucket is in the path of addresses, not in the host's name."
    )
    certificates: str | None = Field(
        default=None,
        description="The text of certificates (PEM) of authorities to trust beside others.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", value):
            raise ValueError("must begin with http:// or https:// and hold no password")
        return None if value is None else value.rstrip("/")

    def store(self, bucket: str, **more: Any) -> Any:
        """Return obstore's store of a bucket; ``more`` are further arguments of it."""
        from obstore.store import S3Store  # an extra

        options: Any = {"allow_http": True, **more.pop("client_options", {})}
        if self.certificates is not None:
            options["root_certificate"] = self.certificates
        if self.session_token is not None:
            more["session_token"] = self.session_token.get_secret_value()
        if self.endpoint is not None:
            more["endpoint"] = self.endpoint
        return S3Store(
            bucket,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key.get_secret_value(),
            region=self.region,
            virtual_hosted_style_request=not self.path_style,
            client_options=options,
            **more,
        )
