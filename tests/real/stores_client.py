"""What the clients of Google Secret Manager and Azure Key Vault make of stored values.

Reads `{google: {url, file, name}, azure: {url, tenant_id, client_id, token_file_path, authority, name}}` as JSON from
its standard input. Writes an object of answers: a value, or the name of the error.
"""

import json
import sys

import google.auth.identity_pool
from azure.core.exceptions import AzureError
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import Credentials
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceRestTransport

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


class Forged(Credentials):
    def refresh(self, request):
        self.token = "forged"


def named(work):
    try:
        return work()
    except (AzureError, GoogleAPICallError) as error:
        return type(error).__name__


def of_google(asked):
    def read(name, credentials=None):
        credentials = credentials or google.auth.identity_pool.Credentials.from_file(asked["file"], scopes=SCOPES)
        transport = SecretManagerServiceRestTransport(host=asked["url"], credentials=credentials)
        client = SecretManagerServiceClient(transport=transport)
        # Its own retries would wait for a server that is told to be away.
        return client.access_secret_version(name=name, retry=None).payload.data.decode()

    newest = asked["name"] + "/versions/latest"
    return {
        "value": named(lambda: read(newest)),
        "missing": named(lambda: read("projects/p/secrets/none/versions/latest")),
        "unknown": named(lambda: read(newest, Forged())),
    }


def of_azure(asked):
    # It learns from the vault's own challenge which scope to ask for, and of which tenant; on loopback the vault's name
    # is not Azure's.
    given = {name: asked[name] for name in ("authority", "tenant_id", "client_id", "token_file_path")}
    credential = WorkloadIdentityCredential(retry_total=0, additionally_allowed_tenants=["*"], **given)
    client = SecretClient(asked["url"], credential, verify_challenge_resource=False, retry_total=0)
    read = client.get_secret(asked["name"])
    return {
        "value": read.value,
        "name": read.name,
        "missing": named(lambda: client.get_secret("none").value),
    }


asked = json.load(sys.stdin)
json.dump({"google": of_google(asked["google"]), "azure": of_azure(asked["azure"])}, sys.stdout)
