//! One job for each way in which a lease can end.

use serde_json::{Value, json};

use crate::support::hooks::{Stage, aws};
use crate::support::survivors::Sweeper;

/// A job, and what it asks for.
#[derive(Clone, Copy)]
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) provider: &'static str,
    /// A variable that the step is given.
    pub(super) variable: &'static str,
    pub(super) stage: fn() -> Stage,
}

pub(super) const EXPIRES: Story =
    Story { name: "a session of AWS", provider: "aws", variable: "AWS_SESSION_TOKEN", stage: Stage::new };

pub(super) const BOUNDED: Story = Story {
    name: "a session of AWS with a deadline",
    provider: "aws",
    variable: "AWS_SESSION_TOKEN",
    stage: || {
        let mut stage = Stage::new();
        stage.block = aws(&json!({"deadline": "5m"}));
        stage
    },
};

pub(super) const REVOKED: Story = Story {
    name: "a login of Vault",
    provider: "vault",
    variable: "VAULT_TOKEN",
    stage: || {
        let mut stage = at_the_sandbox();
        let address = stage.sandbox.provider_url("vault");
        let secrets = json!([{"path": "secret/data/train", "key": "api_key", "env": "TRAIN_API_KEY"}]);
        let vault = json!({"address": address, "role": "train", "export-token": true, "secrets": secrets});
        stage.block = json!({"credentials": [{"vault": vault}]});
        stage.prepare();
        stage
    },
};

pub(super) const SURVIVES: Story = Story {
    name: "a login of Vault that is sealed to another user",
    stage: || {
        let mut stage = (REVOKED.stage)();
        // The harness has one user: the keys stay where they are, and files are left as everywhere.
        let sweeper = Sweeper::of(&mut stage);
        assert!(sweeper.left().is_empty());
        stage
    },
    ..REVOKED
};

pub(super) const INTROSPECTED: Story = Story {
    name: "a token of a server that can be asked about it",
    provider: "oauth",
    variable: "API_TOKEN",
    stage: || oauth(|url| json!({"issuer": url})),
};

pub(super) const ACCEPTED: Story = Story {
    name: "a token of a server that can not",
    provider: "oauth",
    variable: "API_TOKEN",
    stage: || {
        oauth(
            |url| json!({"token-endpoint": format!("{url}/token"), "revocation-endpoint": format!("{url}/revoke")}),
        )
    },
};

pub(super) const KEPT: Story = Story {
    name: "an identity of Azure with a token file",
    provider: "azure",
    variable: "AZURE_FEDERATED_TOKEN_FILE",
    stage: || {
        let azure = json!({"tenant-id": "acme.onmicrosoft.com",
            "client-id": "11111111-2222-4333-8444-555555555555"});
        Stage::asking("azure", &azure)
    },
};

fn at_the_sandbox() -> Stage {
    let mut stage = Stage::new();
    stage.config["endpoints"] = json!([stage.sandbox.url()]);
    stage
}

fn oauth(server: impl Fn(&str) -> Value) -> Stage {
    let mut stage = at_the_sandbox();
    let mut oauth = server(&stage.sandbox.provider_url("oauth"));
    oauth["grant"] = json!("token-exchange");
    oauth["env"] = json!("API_TOKEN");
    stage.block = json!({"credentials": [{"oauth": oauth}]});
    stage
}
