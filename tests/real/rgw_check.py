"""Proves that the Ceph gateway of `ceph-up` is the STS that the tests take it for.

Starts a gateway and an OIDC issuer of its own, makes a role and a bucket by `rgw_setup.py`, then calls
AssumeRoleWithWebIdentity with good and bad tokens. Any disagreement ends it with a failure.

The gateway takes no port in an issuer. Its HTTP client honours `http_proxy`, so the issuer is a name
that nothing resolves and the server behind it a proxy on a free port: neither root nor port 80 is needed.
"""

import base64
import datetime
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import boto3
import jwt
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

HERE = os.path.dirname(os.path.abspath(__file__))
ISSUER = "http://issuer.internal"
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "organization:acme:pipeline:etl:ref:refs/heads/main:commit:4f1c:step:build"


class Issuer:
    """Serves discovery and a JWKS to a client that takes it for a proxy, and signs tokens shaped like the agent's."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.internal")])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number(), now - day, now + day)
        der = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        self.thumbprint = hashlib.sha1(der).hexdigest().upper()
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        jwk |= {"kid": "check", "alg": "RS256", "use": "sig", "x5c": [base64.b64encode(der).decode()]}
        jwks_uri = f"{ISSUER}/.well-known/jwks"
        discovery = {"issuer": ISSUER, "jwks_uri": jwks_uri}
        documents = {f"{ISSUER}/.well-known/openid-configuration": discovery, jwks_uri: {"keys": [jwk]}}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(documents))
        self.proxy = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def token(self, lifetime=600, **changed):
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + lifetime,
            "organization_slug": "acme", "pipeline_slug": "etl", "step_key": "build",
        }  # fmt: skip
        return jwt.encode(claims | changed, self.key, algorithm="RS256", headers={"kid": "check"})


def handler(documents):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path in documents
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def client(service, credentials=None):
    if credentials is None:
        given = {"config": Config(signature_version=UNSIGNED, retries={"max_attempts": 1})}
    else:
        given = {
            "aws_access_key_id": credentials["AccessKeyId"],
            "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"],
            "config": Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        }
    return boto3.client(service, endpoint_url=os.environ["CEPH_ENDPOINT"], region_name="us-east-1", **given)


def setup(issuer, role, *more):
    script = os.path.join(HERE, "rgw_setup.py")
    asked = ["--issuer", ISSUER, "--thumbprint", issuer.thumbprint, "--role", role, *more]
    return json.loads(subprocess.run([sys.executable, script, *asked], check=True, capture_output=True, text=True).stdout)


FAILED = []


def expect(what, wanted, act, because=None):
    """Calls act and holds its outcome, `ok` or the HTTP status, against what is wanted.

    The gateway's STS errors carry no text, so why it refused is read from its log.
    """
    log = os.environ["CEPH_LOG"]
    start = os.path.getsize(log)
    try:
        answer, seen = act(), "ok"
    except ClientError as error:
        answer, seen = None, error.response["ResponseMetadata"]["HTTPStatusCode"]
    right = seen == wanted and (because is None or logged(log, start, because))
    print(f"{'ok  ' if right else 'FAIL'} {what}: {seen}{f', {because}' if because and right else ''}")
    if not right:
        FAILED.append(what)
    return answer


def logged(log, start, text):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with open(log, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            if text in file.read():
                return True
        time.sleep(0.05)
    return False


def check(issuer):
    made = setup(issuer, "etl", "--bucket", "lake", "--condition", f"sub={SUBJECT}")
    print(json.dumps(made))

    def assume(token, role=made["role"], **more):
        return client("sts").assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="job-1", DurationSeconds=900, WebIdentityToken=token, **more
        )

    good = issuer.token()
    answer = expect("a good token", "ok", lambda: assume(good))
    if answer:
        print(answer["AssumedRoleUser"], answer["Audience"], answer["Provider"], answer["SubjectFromWebIdentityToken"])
        lent = client("s3", answer["Credentials"])
        expect("the lent credentials list the bucket", "ok", lambda: lent.list_objects_v2(Bucket="lake"))
        expect("and write to it", "ok", lambda: lent.put_object(Bucket="lake", Key="a", Body=b"x"))
        narrow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/*"}]}
        session = assume(good, Policy=json.dumps(narrow, separators=(",", ":")))["Credentials"]
        expect("a session policy narrows", 403, lambda: client("s3", session).put_object(Bucket="lake", Key="b", Body=b"x"))
        forged = answer["Credentials"] | {"SecretAccessKey": "forged"}
        expect("a forged secret", 403, lambda: client("s3", forged).list_objects_v2(Bucket="lake"))
    head, body, signature = good.split(".")
    middle = len(signature) // 2
    flipped = signature[:middle] + ("A" if signature[middle] != "A" else "B") + signature[middle + 1 :]
    expect("a tampered signature", 403, lambda: assume(f"{head}.{body}.{flipped}"), "evp verify final failed")
    expect("an expired token", 403, lambda: assume(issuer.token(lifetime=-7200)), "token expired")
    expect("another audience", 403, lambda: assume(issuer.token(aud="elsewhere")), "Client id in token doesn't match")
    expect("another issuer", 403, lambda: assume(issuer.token(iss="http://elsewhere.internal")), "Couldn't get oidc provider info")
    expect("another subject than the trust policy's", 403, lambda: assume(issuer.token(sub=SUBJECT + "x")))
    tags = {"https://aws.amazon.com/tags": {"principal_tags": {"pipeline_slug": ["etl"]}}}
    expect("session tags", "ok", lambda: assume(issuer.token(**tags)))
    untagged = setup(issuer, "untagged", "--no-tags")
    expect("session tags on a role without sts:TagSession", 403, lambda: assume(issuer.token(**tags), untagged["role"]))
    expect("that role without session tags", "ok", lambda: assume(issuer.token(), untagged["role"]))


def main():
    issuer = Issuer()
    with tempfile.TemporaryDirectory() as folder:
        ceph = os.path.join(folder, "ceph")
        up = [os.path.join(HERE, "ceph-up"), ceph]
        printed = subprocess.run(up, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"http_proxy": issuer.proxy}).stdout
        os.environ.update(line.split("=", 1) for line in printed.splitlines())
        try:
            check(issuer)
        finally:
            subprocess.run([os.path.join(HERE, "ceph-down"), ceph], check=True)
    sys.exit(f"not as expected: {', '.join(FAILED)}" if FAILED else 0)


if __name__ == "__main__":
    main()
