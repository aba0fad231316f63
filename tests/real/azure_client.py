"""What azure-identity makes of a federated token.

Reads a list from its standard input as JSON, where `null` is whatever the environment says and anything else are
arguments of the credential, and writes a list of answers: the token, or the error.
"""

import json
import sys

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential

SCOPE = "https://storage.azure.com/.default"


def answer(arguments):
    arguments = arguments or {}
    scope = arguments.pop("scope", SCOPE)
    credential = WorkloadIdentityCredential(retry_total=0, **arguments)
    try:
        token = credential.get_token(scope)
    except ClientAuthenticationError as error:
        return {"error": error.message}
    return {"token": token.token, "expires": token.expires_on}


json.dump([answer(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
