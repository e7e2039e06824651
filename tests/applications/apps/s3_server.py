"""moto's S3 server behind a check of each signature: it is computed again from the request as it has arrived."""

from urllib.parse import parse_qs

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

CREDENTIALS = Credentials("AKIDEXAMPLE", "a secret of the test")
storage = DomainDispatcherApplication(create_backend_app)


def app(environ, start_response):
    if environ["PATH_INFO"] != "/moto-api/" and not is_signed(environ):
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SignatureDoesNotMatch</Code><Message>computed another one</Message></Error>"]
    return storage(environ, start_response)


def is_signed(environ):
    in_query = parse_qs(environ["QUERY_STRING"])
    if "X-Amz-Signature" in in_query:
        given = {name: values[0] for name, values in in_query.items()}
        uri = environ["RAW_URI"].replace(f"&X-Amz-Signature={given['X-Amz-Signature']}", "")
        auth = S3SigV4QueryAuth(CREDENTIALS, "s3", given["X-Amz-Credential"].split("/")[2])
    else:
        words = environ["HTTP_AUTHORIZATION"].removeprefix("AWS4-HMAC-SHA256 ").replace(",", "").split()
        given = {f"X-Amz-{name}": value for name, value in (word.split("=", 1) for word in words)}
        given["X-Amz-Date"] = environ["HTTP_X_AMZ_DATE"]
        uri = environ["RAW_URI"]
        auth = S3SigV4Auth(CREDENTIALS, "s3", given["X-Amz-Credential"].split("/")[2])
    headers = {name: field(environ, name) for name in given["X-Amz-SignedHeaders"].split(";")}
    request = AWSRequest(environ["REQUEST_METHOD"], f"http://{environ['HTTP_HOST']}{uri}", headers)
    request.context["timestamp"] = given["X-Amz-Date"]
    wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return wanted == given["X-Amz-Signature"]


def field(environ, name):
    key = name.upper().replace("-", "_")
    return environ.get(f"HTTP_{key}", environ.get(key))
