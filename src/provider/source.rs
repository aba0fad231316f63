//! Credentials that others are made with: each waits for its source, all others go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Error;
use crate::credential::Material;

/// What became of a source: not known yet, made, or failed.
type State = Option<Option<Arc<Material>>>;

/// The named credentials of one block.
#[derive(Debug, Default)]
pub struct Sources(BTreeMap<String, watch::Sender<State>>);

impl Sources {
    /// Sources with these names, none made yet.
    pub fn named(names: impl Iterator<Item = String>) -> Self {
        Self(names.map(|name| (name, watch::Sender::new(None))).collect())
    }

    /// Says what became of one; `None` when it failed.
    pub fn made(&self, name: &str, material: Option<Material>) {
        if let Some(sender) = self.0.get(name) {
            sender.send_replace(Some(material.map(Arc::new)));
        }
    }

    /// The source `name`, as soon as it is made.
    pub async fn get(&self, name: &str) -> Result<Arc<Material>, Error> {
        let failed = || Error::Source(name.to_owned());
        let mut state = self.0.get(name).ok_or_else(failed)?.subscribe();
        let known = state.wait_for(Option::is_some).await.map_err(|_| failed())?;
        known.clone().flatten().ok_or_else(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
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
}
