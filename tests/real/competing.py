"""Says whom one SDK takes from its environment: `competing.py boto3`, `google-auth`, `azure-identity`."""

import sys


def boto3():
    import botocore.session

    session = botocore.session.Session()
    keys = session.get_credentials().get_frozen_credentials()
    sent = []
    bedrock = session.create_client("bedrock-runtime", region_name="eu-west-1")

    def stop(request, **_):
        sent.append(request.headers["Authorization"].decode().split()[0])
        raise InterruptedError

    bedrock.meta.events.register("before-send", stop)
    try:
        bedrock.converse(modelId="x", messages=[])
    except InterruptedError:
        pass
    return [keys.access_key, keys.token, sent]


def google_auth():
    import google.auth

    identity, _ = google.auth.default()
    return [type(identity).__name__, getattr(identity, "_audience", None), identity.quota_project_id]


def azure_identity():
    import azure.identity

    chain = azure.identity.DefaultAzureCredential().credentials
    able = [one for one in chain if getattr(one, "_credential", one) is not None]
    return type(able[0]).__name__


try:
    print({"boto3": boto3, "google-auth": google_auth, "azure-identity": azure_identity}[sys.argv[1]]())
except Exception as error:  # whom it takes is then nobody
    print(type(error).__name__)
