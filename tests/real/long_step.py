"""What the clients of several clouds make of a step that outlives what it was lent first.

One process for the whole step. For each line of its standard input it asks every cloud who it is there, and writes
one line of JSON: the ARN by boto3 (one session, whose profile calls back), the tokens by google-auth and
azure-identity (which read their token files again), and whether hvac's token is still good.
"""

import json
import os
import sys

import boto3
import google.auth
import hvac
from azure.identity import WorkloadIdentityCredential
from google.auth.transport.requests import Request

session = boto3.Session(profile_name="live")


def answer():
    google_credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    google_credentials.refresh(Request())
    azure = WorkloadIdentityCredential(retry_total=0).get_token("https://storage.azure.com/.default")
    vault = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
    return {
        "aws": session.client("sts").get_caller_identity()["Arn"],
        "google": google_credentials.token,
        "azure": azure.token,
        "vault": vault.is_authenticated(),
    }


for _ in sys.stdin:
    print(json.dumps(answer()), flush=True)
