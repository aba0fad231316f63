// An OAuth 2.0 server that nobody here wrote (the npm package oidc-provider), for tests/it/real_oauth.rs.
//
//   node server.mjs NODE_MODULES
//
// Reads `{jobs, secret, key}` as JSON from its standard input: the issuer of jobs' tokens, the secret of the client
// `svc`, and the private key (PEM) of the client `keyed`. Writes its own issuer, serves until standard input ends.
// The package leaves grants that begin with somebody else's token to whoever runs it: both are added here, and
// verify the job's token with the jose library.

import { createPublicKey } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { createInterface } from "node:readline";

const modules = process.argv[2];
const load = (path) => import(pathToFileURL(`${modules}/${path}`).href);
const { default: Provider, errors } = await load("oidc-provider/lib/index.js");
const { createRemoteJWKSet, jwtVerify } = await load("jose/dist/webapi/index.js");

const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT = "urn:ietf:params:oauth:token-type:jwt";

const lines = createInterface({ input: process.stdin });
const { value: line } = await lines[Symbol.asyncIterator]().next();
const { jobs, secret, key } = JSON.parse(line);

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const usual = {
  grant_types: ["client_credentials", TOKEN_EXCHANGE, JWT_BEARER],
  redirect_uris: [],
  response_types: [],
};
const jwk = { ...createPublicKey(key).export({ format: "jwk" }), kid: "k1", use: "sig", alg: "RS256" };
const provider = new Provider(issuer, {
  clients: [
    { ...usual, client_id: "svc", client_secret: secret, token_endpoint_auth_method: "client_secret_basic" },
    { ...usual, client_id: "svc-post", client_secret: secret, token_endpoint_auth_method: "client_secret_post" },
    {
      ...usual,
      client_id: "keyed",
      jwks: { keys: [jwk] },
      token_endpoint_auth_method: "private_key_jwt",
      token_endpoint_auth_signing_alg: "RS256",
    },
  ],
  scopes: ["read", "write"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
});

const keys = createRemoteJWKSet(new URL(`${jobs}/.well-known/jwks`));
const verified = async (token) => {
  try {
    return await jwtVerify(token, keys, { issuer: jobs, audience: issuer, requiredClaims: ["exp", "sub"] });
  } catch (error) {
    throw new errors.InvalidGrant(error.message);
  }
};

const given = async (ctx, more) => {
  const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope: ctx.oidc.params.scope });
  ctx.oidc.entity("ClientCredentials", token);
  ctx.body = { access_token: await token.save(), token_type: "Bearer", expires_in: token.expiration, ...more };
};

const exchange = async (ctx) => {
  if (ctx.oidc.params.subject_token_type !== JWT) throw new errors.InvalidRequest("subject_token_type");
  await verified(ctx.oidc.params.subject_token);
  await given(ctx, { issued_token_type: "urn:ietf:params:oauth:token-type:access_token" });
};
const bearer = async (ctx) => {
  await verified(ctx.oidc.params.assertion);
  await given(ctx, {});
};
provider.registerGrantType(TOKEN_EXCHANGE, exchange, ["subject_token", "subject_token_type", "scope"], []);
provider.registerGrantType(JWT_BEARER, bearer, ["assertion", "scope"], []);

provider.on("server_error", (_, error) => console.error(error));
server.on("request", provider.callback());
process.stdout.write(`${issuer}\n`);
lines.on("close", () => process.exit(0));
