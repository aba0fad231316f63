"""Tokens that PyJWT signs, and the keys that verify them: `{alg: {jwk, token}}` as JSON, with keys made anew."""

import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def signed(alg, key):
    jwk = jwt.get_algorithm_by_name(alg).to_jwk(key.public_key(), as_dict=True)
    return {"jwk": jwk, "token": jwt.encode({"sub": "x"}, key, algorithm=alg)}


RSA = rsa.generate_private_key(65537, 2048)
KEYS = {
    "RS256": RSA,
    "RS512": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
}
print(json.dumps({alg: signed(alg, key) for alg, key in KEYS.items()}))
