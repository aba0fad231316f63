"""Makes what a job needs on a Ceph gateway: the OIDC provider, a role that trusts it, the role's policy, a bucket.

Reads CEPH_ENDPOINT, CEPH_ACCOUNT, CEPH_ACCESS_KEY_ID and CEPH_SECRET_ACCESS_KEY (what `ceph-up` printed) from
the environment and prints what it made as JSON. It can be run again with another role, issuer or bucket.

The gateway's limits shape the arguments: it takes no port in an issuer (see `ceph-up`), wants the SHA-1
thumbprint of the certificate in the issuer's JWKS (`x5c`), and reads a space in a policy as `+`.
"""

import argparse
import json
import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})


def compact(document):
    return json.dumps(document, separators=(",", ":"))


def client(service):
    return boto3.client(
        service,
        endpoint_url=os.environ["CEPH_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=os.environ["CEPH_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["CEPH_SECRET_ACCESS_KEY"],
        config=CONFIG,
    )


def trust(provider_arn, issuer_host, audience, tags, conditions):
    actions = ["sts:AssumeRoleWithWebIdentity"] + (["sts:TagSession"] if tags else [])
    equals = {f"{issuer_host}:aud": audience} | {f"{issuer_host}:{k}": v for k, v in conditions.items()}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": [provider_arn]},
                "Action": actions,
                "Condition": {"StringEquals": equals},
            }
        ],
    }


def provider(iam, issuer, audience, thumbprint):
    host = issuer.split("://", 1)[1]
    arn = f"arn:aws:iam::{os.environ['CEPH_ACCOUNT']}:oidc-provider/{host}"
    try:
        made = iam.create_open_id_connect_provider(Url=issuer, ClientIDList=[audience], ThumbprintList=[thumbprint])
        assert made["OpenIDConnectProviderArn"] == arn, made["OpenIDConnectProviderArn"]
    except ClientError as error:
        known = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn) if already_there(error) else {}
        if known.get("ThumbprintList") != [thumbprint]:
            raise
    return arn


def already_there(error):
    # The gateway answers S3's error document here, which boto3 cannot read: only the status is left.
    return error.response["ResponseMetadata"]["HTTPStatusCode"] == 409


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--issuer", required=True, help="http://HOST, without a port")
    parser.add_argument("--thumbprint", required=True, help="SHA-1 of the issuer's certificate, in hex")
    parser.add_argument("--role", required=True)
    parser.add_argument("--audience", default="sts.amazonaws.com")
    parser.add_argument("--condition", action="append", default=[], metavar="CLAIM=VALUE", help="asked of the token, as StringEquals")
    parser.add_argument("--no-tags", action="store_true", help="the role does not allow sts:TagSession")
    parser.add_argument("--policy", help="JSON; default: everything in S3")
    parser.add_argument("--bucket")
    parser.add_argument("--chained", action="append", default=[], metavar="ROLE=BY", help="a role that sessions of another may assume")
    asked = parser.parse_args()

    iam = client("iam")
    provider_arn = provider(iam, asked.issuer, asked.audience, asked.thumbprint.upper())
    conditions = dict(condition.split("=", 1) for condition in asked.condition)
    host = asked.issuer.split("://", 1)[1]
    document = trust(provider_arn, host, asked.audience, not asked.no_tags, conditions)
    role = iam.create_role(Path="/", RoleName=asked.role, AssumeRolePolicyDocument=compact(document))["Role"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}]}
    policy = json.loads(asked.policy) if asked.policy else everything
    iam.put_role_policy(RoleName=asked.role, PolicyName="grant", PolicyDocument=compact(policy))
    for chained in asked.chained:
        name, by = chained.split("=", 1)
        principal = {"AWS": [f"arn:aws:iam::{os.environ['CEPH_ACCOUNT']}:role/{by}"]}
        statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}
        iam.create_role(Path="/", RoleName=name, AssumeRolePolicyDocument=compact({"Version": "2012-10-17", "Statement": [statement]}))
        iam.put_role_policy(RoleName=name, PolicyName="grant", PolicyDocument=compact(everything))
    if asked.bucket:
        client("s3").create_bucket(Bucket=asked.bucket)
    print(json.dumps({"provider": provider_arn, "role": role["Arn"], "role_id": role["RoleId"], "bucket": asked.bucket}))


if __name__ == "__main__":
    main()
