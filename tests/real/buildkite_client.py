"""What pybuildkite makes of Buildkite's REST API.

Reads `{url, token, revoke?}` as JSON from its standard input. Writes the scopes that the token says it has.
"""

import json
import sys

from pybuildkite.buildkite import Buildkite
from requests import HTTPError

asked = json.load(sys.stdin)
client = Buildkite()
client.base_url = asked["url"] + "/v2/"
client.set_access_token(asked["token"])
try:
    token = client.access_tokens().get_token()
    if asked.get("revoke"):
        client.access_tokens().revoke_token()
    json.dump({"scopes": token["scopes"]}, sys.stdout)
except HTTPError as error:
    json.dump({"status": error.response.status_code}, sys.stdout)
