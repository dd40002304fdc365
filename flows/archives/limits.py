"""What an archive may hold."""

from pydantic import BaseModel, ConfigDict, Field


class UploadLimits(BaseModel):
    """What an archive may hold; how large it may be itself is a setting. Sizes in bytes.

    ``max_ratio`` is of the unpacked to the packed size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_unpacked_bytes: int = Field(default=10_000_000_000, gt=0)
    max_entries: int = Field(default=100_000, gt=0)
    max_depth: int = Field(default=64, gt=0)
    max_ratio: int = Field(default=200, gt=0)
    min_free_bytes: int = Field(default=1 << 30, ge=0)
