"""boto3 before an S3 server that checks signatures: paths, Host, aws-chunked bodies and multipart uploads stay as signed."""

import io
import os

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from programs import SETTINGS, gunicorn

from gproxy.testing.authority import Authority
from gproxy.testing.gateway import RunningGateway, free_port

TLS = """
[tls:storage]
certificate = {tmp}/localhost.crt
key = {tmp}/localhost.key
"""
#: Each is signed as it is written on the wire; a proxy that normalizes or decodes a path breaks the signature.
KEYS = ["plain.txt", "a folder/über & 100%25+1=2.txt", "a//b", "percent%2Fslash", "tilde~(1)!*'.txt"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    authority = Authority(folder)
    authority.issue("localhost")
    secure = free_port()
    with gunicorn(folder, "s3_server:app", "--workers", "1", "--threads", "4") as port:
        settings = (SETTINGS + TLS).format(port=port, tmp=folder)
        with RunningGateway(settings, folder, "--bind", f"127.0.0.1:{secure} tls") as gateway:
            yield Storage(f"http://localhost:{gateway.port}", f"https://localhost:{secure}", str(authority.path))


class Storage:
    """The client for http, and the one for https, with which boto3 sends checksums as trailers."""

    def __init__(self, plain, secure, ca):
        self.url, self.ca = plain, ca
        self.plain, self.secure = client(plain), client(secure, verify=ca)
        self.plain.create_bucket(Bucket="photos")


def client(url, secret="a secret of the test", verify=True):
    return boto3.client(
        "s3",
        endpoint_url=url,
        verify=verify,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", ["plain", "secure"])
def test_an_object_comes_back_under_its_name(storage, scheme, key):
    s3, body = getattr(storage, scheme), os.urandom(200_000)
    s3.put_object(Bucket="photos", Key=key, Body=body, Metadata={"who": "alice"})
    answer = s3.get_object(Bucket="photos", Key=key)
    assert (answer["Body"].read(), answer["Metadata"]) == (body, {"who": "alice"})
    assert s3.get_object(Bucket="photos", Key=key, Range="bytes=10-19")["Body"].read() == body[10:20]
    assert key in [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]]
    s3.delete_object(Bucket="photos", Key=key)


def test_a_body_with_its_checksum_in_a_trailer(storage):
    """Over https boto3 sends aws-chunked bodies, with a checksum behind them; the gateway leaves both alone."""
    body, sent = os.urandom(300_000), []
    storage.secure.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))
    storage.secure.put_object(Bucket="photos", Key="chunked", Body=io.BytesIO(body))
    assert sent[0]["Content-Encoding"] == b"aws-chunked"
    answer = storage.secure.get_object(Bucket="photos", Key="chunked", ChecksumMode="ENABLED")
    assert answer["Body"].read() == body
    assert "ContentEncoding" not in answer or "aws-chunked" not in answer["ContentEncoding"]


def test_an_upload_in_parts(storage, tmp_path):
    source = tmp_path / "big"
    source.write_bytes(os.urandom(12_000_000))
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    storage.secure.upload_file(str(source), "photos", "big file", Config=parts)
    storage.plain.download_file("photos", "big file", str(tmp_path / "back"), Config=parts)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert storage.plain.head_object(Bucket="photos", Key="big file")["ETag"].endswith('-3"')


def test_a_link_that_is_signed_in_its_query(storage):
    storage.plain.put_object(Bucket="photos", Key="for you/ü.txt", Body=b"hello")
    parameters = {"Bucket": "photos", "Key": "for you/ü.txt", "ResponseContentType": "text/x-note; a=b"}
    link = storage.secure.generate_presigned_url("get_object", parameters, ExpiresIn=60)
    answer = requests.get(link, timeout=20, verify=storage.ca)
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert requests.get(link.replace("note", "other"), timeout=20, verify=storage.ca).status_code == 403


def test_the_server_does_check_signatures(storage):
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(storage.url, secret="another").list_buckets()
