"""What boto3 makes of AWS's secrets managers, with keys that a role gave.

Reads `{url, role, token, secret, parameter}` as JSON from its standard input. Writes an object of answers.
"""

import json
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

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

    json.dump({
        "secret": secret(asked["secret"]),
        "parameter": parameter(asked["parameter"]),
        "no-secret": secret("none"),
        "no-parameter": parameter("/none"),
        "forged": secret(asked["secret"], aws_secret_access_key="forged"),
        "unknown": secret(asked["secret"], aws_access_key_id="ASIAUNKNOWN"),
    }, sys.stdout)


main()
