"""An S3 server in a thread of the test's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a server that runs during the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def create_bucket(server_url: str) -> str:
    """Create a bucket and return its name."""
    import boto3

    name = f"b{uuid4().hex}"
    boto3.client("s3", region_name="us-east-1", endpoint_url=server_url).create_bucket(Bucket=name)
    return name
