"""What boto3 makes of AWS's secrets managers and KMS, with keys that a role gave.

Reads `{url, role, token, secret, parameter}` as JSON from its standard input. Writes an object of answers.
"""

import hashlib
import json
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

REGION = "eu-west-1"


def named(work):
    try:
        return work()
    except ClientError as error:
        return error.response["Error"]["Code"]


def main():
    asked = json.load(sys.stdin)
    sts = boto3.client("sts", endpoint_url=asked["url"], region_name=REGION, config=Config(signature_version=UNSIGNED))
    keys = sts.assume_role_with_web_identity(
        RoleArn=asked["role"], RoleSessionName="job-1", WebIdentityToken=asked["token"],
    )["Credentials"]

    def client(service, **changed):
        used = {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
            **changed,
        }
        config = Config(retries={"max_attempts": 0})
        return boto3.client(service, endpoint_url=asked["url"], region_name=REGION, config=config, **used)

    def secret(name, **changed):
        return named(lambda: client("secretsmanager", **changed).get_secret_value(SecretId=name)["SecretString"])

    def parameter(name):
        read = lambda: client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        return named(read)

    def signed(key, algorithm, **changed):
        kms = client("kms", **changed)

        def verified():
            public = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
            digest = hashlib.sha256(b"text").digest()
            for message, kind in ((b"text", "RAW"), (digest, "DIGEST")):
                asked = dict(KeyId=key, Message=message, MessageType=kind, SigningAlgorithm=algorithm)
                how = [padding.PKCS1v15()] if algorithm.startswith("RSA") else [ec.ECDSA(hashes.SHA256())]
                how += [hashes.SHA256()] if algorithm.startswith("RSA") else []
                public.verify(kms.sign(**asked)["Signature"], b"text", *how)
            return "verified"

        return named(verified)

    rsa, p256 = "RSASSA_PKCS1_V1_5_SHA_256", "ECDSA_SHA_256"
    json.dump({
        "rsa": signed("alias/rsa", rsa),
        "p256": signed("alias/p256", p256),
        "other-algorithm": signed("alias/p256", rsa),
        "no-key": signed("alias/none", rsa),
        "forged-signer": signed("alias/rsa", rsa, aws_secret_access_key="forged"),
        "secret": secret(asked["secret"]),
        "parameter": parameter(asked["parameter"]),
        "no-secret": secret("none"),
        "no-parameter": parameter("/none"),
        "forged": secret(asked["secret"], aws_secret_access_key="forged"),
        "unknown": secret(asked["secret"], aws_access_key_id="ASIAUNKNOWN"),
    }, sys.stdout)


main()
