"""What hvac makes of a Vault: sets it up with the root token, then logs in, reads, wraps, and gives back.

Reads `{url, root, logins: [{role, jwt}]}` as JSON from its standard input. Writes a list of answers.
"""

import base64
import hashlib
import json
import sys

import hvac
import jwt
from hvac.exceptions import VaultError


def set_up(url, root):
    client = hvac.Client(url=url, token=root)
    client.sys.create_or_update_policy("everything", 'path "*" { capabilities = ["read", "update"] }')
    for role, more in (("train", {}), ("batch", {"token_type": "batch"})):
        client.auth.jwt.create_role(
            name=role, role_type="jwt", allowed_redirect_uris=[], user_claim="sub", bound_audiences=["vault"],
            bound_claims={"pipeline_slug": ["web", "loader"]}, token_ttl=900, path="jwt",
            token_policies=["everything"], **more,
        )
    for kind in KINDS:
        client.secrets.transit.create_key(kind, key_type=kind)
    client.secrets.kv.v1.create_or_update_secret("train", {"user": "loader"}, mount_point="kv")
    for value in ("the-first", "the-second"):
        client.secrets.kv.v2.create_or_update_secret("train", {"api_key": value})


KINDS = {"rsa-2048": "RS256", "ecdsa-p256": "ES256"}


def b64(data):
    return base64.b64encode(data).decode()


def signed(client, root, kind, algorithm):
    """Whether PyJWT believes a JWT whose signature transit made, of a digest and of the whole."""
    transit = client.secrets.transit
    public = root.secrets.transit.read_key(kind)["data"]["keys"]["1"]["public_key"]
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    text = part({"alg": algorithm}) + "." + part({"iss": "app"})
    believed = []
    for prehashed in (True, False):
        given = hashlib.sha256(text.encode()).digest() if prehashed else text.encode()
        answer = transit.sign_data(
            kind, hash_input=b64(given), hash_algorithm="sha2-256", prehashed=prehashed,
            signature_algorithm="pkcs1v15", marshaling_algorithm="jws",
        )["data"]["signature"]
        assert answer.startswith("vault:v1:"), answer
        claims = jwt.decode(text + "." + answer.removeprefix("vault:v1:"), public, algorithms=[algorithm])
        believed.append(claims == {"iss": "app"})
    return believed


def named(work):
    try:
        work()
        return "fine"
    except VaultError as error:
        return type(error).__name__


def ask(url, root, login):
    client = hvac.Client(url=url)
    auth = client.auth.jwt.jwt_login(role=login["role"], jwt=login["jwt"], path="jwt")["auth"]
    client.token = auth["client_token"]
    v2 = client.secrets.kv.v2

    def version(**which):
        return v2.read_secret_version("train", raise_on_deleted_version=True, **which)["data"]["data"]

    answer = {"type": auth["token_type"], "first": version(version=1), "v2": version()}
    answer["v1"] = client.secrets.kv.v1.read_secret("train", mount_point="kv")["data"]
    answer["missing"] = named(lambda: client.secrets.kv.v1.read_secret("none", mount_point="kv"))
    wrapping = client.read("kv/train", wrap_ttl="60s")["wrap_info"]["token"]
    answer["unwrapped-by-nobody"] = named(lambda: hvac.Client(url=url).sys.unwrap(wrapping))
    answer["wrapped"] = hvac.Client(url=url, token=wrapping).sys.unwrap()["data"]
    answer["unwrapped-twice"] = named(lambda: hvac.Client(url=url, token=wrapping).sys.unwrap())
    known = [client.is_authenticated()]
    answer["signed"] = {kind: signed(client, root, kind, algorithm) for kind, algorithm in KINDS.items()}
    answer["no-key"] = named(lambda: client.secrets.transit.sign_data("none", hash_input=b64(b"x")))
    accessor = client.auth.jwt.jwt_login(role=login["role"], jwt=login["jwt"], path="jwt", use_token=False)["auth"]["accessor"]
    if accessor:
        about = root.auth.token.lookup_accessor(accessor)["data"]
        answer["whose"] = [about["path"], about["meta"], about["id"], about["creation_time"] > 1_700_000_000]
        by_accessor = [root.auth.token.revoke_accessor(accessor) for _ in range(2)]
        answer["by-accessor"] = [by_accessor[0].status_code, by_accessor[1]["warnings"]]
        answer["nobodys"] = named(lambda: root.auth.token.lookup_accessor(accessor))
    answer["revoked"] = named(client.auth.token.revoke_self)
    client.token = auth["client_token"]
    answer["known"] = known + [client.is_authenticated()]
    answer["after"] = named(version)
    return answer


def main():
    asked = json.load(sys.stdin)
    set_up(asked["url"], asked["root"])
    root = hvac.Client(url=asked["url"], token=asked["root"])
    answers = []
    for login in asked["logins"]:
        try:
            answers.append(ask(asked["url"], root, login))
        except VaultError as error:
            answers.append({"error": type(error).__name__, "message": str(error)})
    json.dump(answers, sys.stdout)


main()
