"""What google-auth makes of credential files.

Reads a list of paths as JSON from its standard input, where `null` is whatever the environment names and an object asks
for a user's token or for other scopes, and writes a list of answers: the token and whose it is, or the error.
"""

import json
import sys

import google.auth
import google.auth.exceptions
import google.auth.identity_pool
import google.auth.impersonated_credentials
from google.auth.transport.requests import Request

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def on_behalf(asked):
    """Of a user, by domain-wide delegation, whose endpoints are constants of the library."""
    source = google.auth.identity_pool.Credentials.from_file(asked["file"], scopes=SCOPES)
    credentials = google.auth.impersonated_credentials.Credentials(
        source, asked["account"], SCOPES, subject=asked["subject"])
    send = Request()

    def routed(url, *arguments, **named):
        for known in ("https://oauth2.googleapis.com", "https://iamcredentials.googleapis.com"):
            url = url.replace(known, asked["route"])
        return send(url, *arguments, **named)

    try:
        credentials.refresh(routed)
    except google.auth.exceptions.GoogleAuthError as error:
        return {"error": str(error)}
    return {"token": credentials.token}


def answer(path):
    if isinstance(path, dict) and "subject" in path:
        return on_behalf(path)
    scopes = SCOPES
    if isinstance(path, dict):
        path, scopes = path["file"], path["scopes"]
    if path is None:
        credentials, project = google.auth.default(scopes=SCOPES)
    else:
        # Not by google.auth, which would ask Cloud Resource Manager for the project.
        credentials, project = google.auth.identity_pool.Credentials.from_file(path, scopes=scopes), None
    try:
        credentials.refresh(Request())
    except google.auth.exceptions.GoogleAuthError as error:
        return {"error": str(error)}
    account = getattr(credentials, "service_account_email", None)
    return {"token": credentials.token, "account": account, "project": project,
            "universe": credentials.universe_domain, "expires": int(credentials.expiry.timestamp())}


json.dump([answer(path) for path in json.load(sys.stdin)], sys.stdout)
