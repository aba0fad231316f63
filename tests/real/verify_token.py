"""What PyJWT makes of a token: finds the issuer's keys by discovery, verifies, prints the claims.

Reads `{issuer, audience, token}` as JSON from its standard input.
"""

import json
import sys
import urllib.request

import jwt

asked = json.load(sys.stdin)
with urllib.request.urlopen(asked["issuer"] + "/.well-known/openid-configuration") as answer:
    discovered = json.load(answer)
key = jwt.PyJWKClient(discovered["jwks_uri"]).get_signing_key_from_jwt(asked["token"])
claims = jwt.decode(
    asked["token"],
    key.key,
    algorithms=discovered["id_token_signing_alg_values_supported"],
    audience=asked["audience"],
    issuer=discovered["issuer"],
    options={"require": ["exp", "iat", "nbf", "jti", "sub"]},
)
json.dump(claims, sys.stdout)
