//! What the step sees of an identity of Google Cloud.

use super::exchange::Made;
use super::{Federation, file};
use crate::{Context, Error};
use dataflow_config::credential::Kind as _;
use dataflow_config::gcp::{
    EXECUTABLE_VARIABLES, FILE_VARIABLES, Gcp, IdToken, PROJECT_VARIABLES, TOKEN_VARIABLES,
    UNIVERSE_VARIABLES,
};
use dataflow_policy as policy;
use dataflow_types::credential::{Credential, Material, PrivateFile, SettleWith, Value, Variable};
use dataflow_types::secret::Secret;

impl Federation<'_> {
    pub(super) fn hand_over(&self, made: Made, context: &Context<'_>) -> Result<Credential, Error> {
        let gcp = self.gcp;
        let mut files = Vec::new();
        let expires_at = made.access.ends;
        let mut until = made.id.as_ref().map_or(expires_at, |id| id.ends);
        if gcp.credential_file {
            files.push(file::credentials(gcp, &made.source, context)?);
        }
        if let Some(name) = gcp.token_file() {
            files.push(PrivateFile {
                name,
                content: made.subject.token.secret().clone().into(),
                secret: true,
            });
            let life = policy::duration(gcp, context.host);
            until = until.max(made.subject.last_use(life, context.clock.now()));
        }
        let id = made.id.map(|id| id.token);
        Ok(Credential {
            variables: variables(gcp, &made.access.token, id.as_ref(), context),
            files,
            material: Material::Token(made.access.token),
            expires_at,
            principal: gcp.target(),
            // Google has no public name for one token.
            handle: String::new(),
            settle_with: SettleWith::Later { until },
            answer_lost: made.lost,
            flaw: None,
        })
    }
}

fn variables(gcp: &Gcp, access: &Secret, id: Option<&Secret>, context: &Context<'_>) -> Vec<Variable> {
    let path = context.folder.join(file::CREDENTIALS).display().to_string();
    let plain = |wanted: bool, text: &str, names: &'static [&'static str]| {
        let value = Value::Plain(text.to_owned());
        names.iter().filter(move |_| wanted).map(move |name| (*name, value.clone()))
    };
    let secret = Value::Secret(access.clone());
    let token = TOKEN_VARIABLES.iter().filter(|_| gcp.access_token).map(|name| (*name, secret.clone()));
    let id = gcp.id_token.as_ref().map(IdToken::env).zip(id.cloned().map(Value::Secret));
    let project = gcp.project.as_deref().unwrap_or_default();
    let all = plain(gcp.credential_file, &path, &FILE_VARIABLES)
        .chain(plain(gcp.calls_back(), "1", &EXECUTABLE_VARIABLES))
        .chain(token)
        .chain(plain(gcp.project.is_some(), project, &PROJECT_VARIABLES))
        .chain(plain(gcp.elsewhere().is_some(), gcp.universe(), &UNIVERSE_VARIABLES))
        .chain(id);
    all.filter_map(|(name, value)| Some(Variable { name: name.parse().ok()?, value })).collect()
}
