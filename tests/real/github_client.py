"""What PyGithub makes of GitHub's API for apps.

Reads `{url, token}` or `{url, app, key, repository, permissions}` as JSON from its standard input: it uses an
installation's token, or mints one as the app and uses that. Writes what the token reaches.
"""

import json
import sys

from github import Auth, Github, GithubException, GithubIntegration


def minted(asked):
    app = GithubIntegration(
        auth=Auth.AppAuth(asked["app"], asked["key"]), base_url=asked["url"], retry=None
    )
    installation = app.get_repo_installation(*asked["repository"].split("/"))
    token = app.get_access_token(installation.id, permissions=asked["permissions"])
    return token.token, {"expires": int(token.expires_at.timestamp()), "permissions": token.permissions}


def answer(asked):
    token, told = (asked["token"], {}) if "token" in asked else minted(asked)
    client = Github(auth=Auth.Token(token), base_url=asked["url"], retry=None)
    _, found = client.requester.requestJsonAndCheck("GET", "/installation/repositories")
    return {"repositories": [one["full_name"] for one in found["repositories"]], **told}


try:
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
except GithubException as error:
    json.dump({"status": error.status, "message": error.data["message"]}, sys.stdout)
