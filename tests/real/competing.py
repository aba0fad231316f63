"""Says whom one SDK or tool takes from its environment: `competing.py boto3`, `google-auth`, `azure-identity`,
`terraform-gcs`, `terraform-azurerm`."""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time


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
    return [keys.access_key, keys.token, keys.account_id, sent]


def google_auth():
    import google.auth

    identity, _ = google.auth.default()
    return [type(identity).__name__, getattr(identity, "_audience", None), identity.quota_project_id]


def azure_identity():
    import azure.identity

    chain = azure.identity.DefaultAzureCredential().credentials
    able = [one for one in chain if getattr(one, "_credential", one) is not None]
    return type(able[0]).__name__


class Asked(http.server.BaseHTTPRequestHandler):
    """Google's token endpoint and storage, and a proxy that leads nowhere: what is asked is all that counts."""

    seen = []

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append([self.command, self.path.split("?")[0], self.headers.get("authorization")])
        token = {"access_token": "lent", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                 "token_type": "Bearer", "expires_in": 3600}
        body = json.dumps(token if self.path == "/token" else {"error": {"code": 403, "message": "no"}}).encode()
        self.send_response(200 if self.path == "/token" else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_CONNECT = do_GET

    def log_message(self, *_):
        pass


def terraform(backend, settings, enough):
    """What a Terraform backend asks which server for first, to find its state; without a request, its error."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, HTTPS_PROXY=here, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1")
        identity = env.get("GOOGLE_APPLICATION_CREDENTIALS")
        if identity:
            with open(identity) as file:
                known = json.load(file) | {"token_url": f"{here}/token"}
            env["GOOGLE_APPLICATION_CREDENTIALS"] = f"{folder}/identity.json"
            with open(f"{folder}/identity.json", "w") as file:
                json.dump(known, file)
        lines = "".join(f"    {key} = {json.dumps(value)}\n" for key, value in settings(here).items())
        with open(f"{folder}/main.tf", "w") as file:
            file.write(f'terraform {{\n  backend "{backend}" {{\n{lines}  }}\n}}\n')
        command = ["terraform", "init", "-no-color", "-input=false"]
        with open(f"{folder}/output", "w+") as output:
            running = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
            # It goes on trying: whom it asks first is known sooner.
            while running.poll() is None and len(Asked.seen) < enough:
                time.sleep(0.02)
            running.kill()
            running.wait()
            output.seek(0)
            lines = [line for line in output.read().splitlines() if line.startswith("Error")]
        return [Asked.seen[:enough], lines[:1] if not Asked.seen else []]


def gcs():
    return terraform("gcs", lambda here: {"bucket": "state", "storage_custom_endpoint": f"{here}/storage/"}, 2)


def azurerm():
    names = {"storage_account_name": "state", "container_name": "state", "key": "state", "use_azuread_auth": True}
    return terraform("azurerm", lambda _: names, 1)


TOOLS = {
    "boto3": boto3,
    "google-auth": google_auth,
    "azure-identity": azure_identity,
    "terraform-gcs": gcs,
    "terraform-azurerm": azurerm,
}

try:
    print(TOOLS[sys.argv[1]]())
except Exception as error:  # whom it takes is then nobody
    print(type(error).__name__)
