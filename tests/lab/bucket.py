"""A bucket of an S3 service that runs for the tests: where it is, and who may use it."""

from dataclasses import dataclass

import boto3
import botocore.config


@dataclass(frozen=True)
class Bucket:
    endpoint: str
    name: str
    user: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process one who may use it."""
        return {"AWS_ACCESS_KEY_ID": self.user, "AWS_SECRET_ACCESS_KEY": self.secret}

    def make(self) -> None:
        """Make the bucket, which must not be there."""
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config,
                              aws_access_key_id=self.user, aws_secret_access_key=self.secret)  # fmt: skip
        client.create_bucket(Bucket=self.name)
