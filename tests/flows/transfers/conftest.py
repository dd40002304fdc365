from pathlib import Path

import pytest

from flows.staging import sending
from flows.transfers.offers import Offer, Terms
from tests.flows.staging.sftp.remote import TOKEN


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    directory.mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    return directory


@pytest.fixture
def offer(job_dir: Path) -> Offer:
    offer = Offer(job_dir, TOKEN)
    offer.make(sending.scan(job_dir), Terms(destination="far", lifetime=60, api_url="http://here"))
    return offer
