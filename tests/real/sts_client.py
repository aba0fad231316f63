"""What boto3 makes of an STS: assumes a role with a token, then asks who it has become.

Reads a list of `{url, assume, chain?, secret?}` as JSON from its standard input, where `chain` is a second role
to assume with the first one's keys and `secret` replaces the secret that was lent. Writes a list of answers.
"""

import json
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError


def client(url, **keys):
    # The server is to judge the parameters, and to be asked once.
    signing = {} if keys else {"signature_version": UNSIGNED}
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, **signing)
    return boto3.client("sts", endpoint_url=url, region_name="eu-west-1", config=config, **keys)


def keys(credentials, secret=None):
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": secret or credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }


def lend(asked):
    url = asked["url"]
    lent = client(url).assume_role_with_web_identity(**asked["assume"])
    if "chain" in asked:
        lent = client(url, **keys(lent["Credentials"])).assume_role(**asked["chain"])
    caller = client(url, **keys(lent["Credentials"], asked.get("secret"))).get_caller_identity()
    caller.pop("ResponseMetadata")
    return {
        "caller": caller,
        "user": lent["AssumedRoleUser"],
        "packed": lent.get("PackedPolicySize"),
        "identity": lent.get("SourceIdentity"),
        "expires": int(lent["Credentials"]["Expiration"].timestamp()),
        "subject": lent.get("SubjectFromWebIdentityToken"),
    }


def answer(asked):
    try:
        return lend(asked)
    except ClientError as error:
        status, said = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]
        return {"error": said["Code"], "message": said["Message"], "status": status}


json.dump([answer(asked) for asked in json.load(sys.stdin)], sys.stdout)
