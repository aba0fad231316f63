"""Opens and seals leases as RFC 9180 says, with pyca/cryptography: hpke_client.py open|seal KEY FILE.

`open` prints the lease in the file; `seal` puts another lease, from standard input, under the file's own first line."""

import base64
import json
import sys

from cryptography.hazmat.primitives import hpke, serialization

INFO = b"buildkite-dataflow survivor 1\n"

verb, key, path = sys.argv[1:]
suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
with open(key, "rb") as file:
    key = serialization.load_pem_private_key(file.read(), None)
with open(path, "rb") as file:
    label, sealed, rest = file.read().split(b"\n")
assert rest == b"", rest
if verb == "open":
    sealed = base64.b64decode(sealed + b"=" * (-len(sealed) % 4), validate=True)
    print(json.dumps(json.loads(suite.decrypt(sealed, key, INFO + label))))
else:
    sealed = suite.encrypt(sys.stdin.buffer.read(), key.public_key(), INFO + label)
    with open(path, "wb") as file:
        file.write(label + b"\n" + base64.b64encode(sealed).rstrip(b"=") + b"\n")
    print("null")
