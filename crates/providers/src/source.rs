//! Credentials that others are made with: each waits for its source, all others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Error;
use dataflow_config::field::Field;
use dataflow_types::credential::Material;
use dataflow_types::secret::Secret;

/// What became of a source: not known yet, made, or failed.
type State = Option<Option<Arc<Material>>>;

/// The named credentials of one block.
#[derive(Debug, Default)]
pub struct Sources {
    made: BTreeMap<String, watch::Sender<State>>,
    /// The fields that were handed out, by their source.
    handed: Mutex<Vec<(String, Secret)>>,
}

impl Sources {
    /// Sources with these names, none made yet.
    pub fn named(names: impl Iterator<Item = String>) -> Self {
        let made = names.map(|name| (name, watch::Sender::new(None))).collect();
        Self { made, handed: Mutex::default() }
    }

    /// Says what became of one; `None` when it failed.
    pub fn made(&self, name: &str, material: Option<Material>) {
        if let Some(sender) = self.made.get(name) {
            sender.send_replace(Some(material.map(Arc::new)));
        }
    }

    /// The source `name`, as soon as it is made.
    pub async fn get(&self, name: &str) -> Result<Arc<Material>, Error> {
        let failed = || Error::Source(name.to_owned());
        let mut state = self.made.get(name).ok_or_else(failed)?.subscribe();
        let known = state.wait_for(Option::is_some).await.map_err(|_| failed())?;
        known.clone().flatten().ok_or_else(failed)
    }

    /// One value that another credential holds; of a token the one field is `token`.
    pub async fn field(&self, wanted: &Field) -> Result<Secret, Error> {
        let value = match &*self.get(&wanted.source).await? {
            Material::Fields(fields) => fields.get(&wanted.field).map(|value| Secret::new(value.expose())),
            Material::Token(token) if wanted.field == "token" => Some(token.clone()),
            Material::Token(_) | Material::AwsKeys { .. } | Material::Nothing => None,
        };
        let no_field = || Error::NoField { name: wanted.source.clone(), field: wanted.field.clone() };
        let value = value.ok_or_else(no_field)?;
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.push((wanted.source.clone(), value.clone()));
        Ok(value)
    }

    /// What a server may have been sent of the source `name`: its token or keys, and the fields that were handed out.
    /// What else it holds stays here.
    pub fn sent(&self, name: &str) -> Vec<Secret> {
        let made = self.made.get(name).and_then(|sender| sender.borrow().clone().flatten());
        let whole = made.filter(|material| !matches!(**material, Material::Fields(_)));
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = handed.iter().filter(|(source, _)| source == name).map(|(_, value)| value.clone());
        whole.iter().flat_map(|material| material.secrets()).chain(fields).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflow_types::credential::Value;
    use futures_util::future::join;

    #[test]
    fn whoever_needs_a_source_waits_until_it_is_made_or_failed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sources = Sources::named(["good", "bad"].map(str::to_owned).into_iter());
        let asked = join(sources.get("good"), sources.get("bad"));
        let made = async {
            sources.made("good", Some(Material::Token(Secret::new("token-of-good"))));
            sources.made("bad", None);
        };
        let ((good, bad), ()) = runtime.block_on(join(asked, made));
        assert!(matches!(&*good.unwrap(), Material::Token(token) if token.expose() == "token-of-good"));
        assert_eq!(bad.unwrap_err().to_string(), "the credential `bad` that it is made with was not lent");
    }

    #[test]
    fn a_field_is_found_where_the_other_credential_has_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sources = Sources::named(["kv", "token"].map(str::to_owned).into_iter());
        sources.made(
            "kv",
            Some(Material::Fields(
                [("key", "held"), ("other", "kept")]
                    .map(|(name, value)| (name.to_owned(), Value::Secret(Secret::new(value))))
                    .into(),
            )),
        );
        sources.made("token", Some(Material::Token(Secret::new("lent"))));
        let field = |source: &str, field: &str| {
            let wanted = Field { source: source.into(), field: field.into() };
            runtime.block_on(sources.field(&wanted)).map(|secret| secret.expose().to_owned())
        };
        assert_eq!(field("kv", "key").unwrap(), "held");
        assert_eq!(field("token", "token").unwrap(), "lent");
        assert_eq!(field("kv", "kye").unwrap_err().to_string(), "the credential `kv` has no field `kye`");
        assert!(field("token", "key").is_err());
        let sent = |name, wanted: &str| sources.sent(name).iter().all(|one| one.expose() == wanted);
        assert!(sent("kv", "held") && sent("token", "lent") && !sources.sent("kv").is_empty());
    }
}
