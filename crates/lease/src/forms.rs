//! What the log is told to hide: every form of every secret of a block, within a bound.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use dataflow_host::agent::job_api::{Error, JobApi};
use dataflow_types::secret::Secret;
pub use dataflow_types::secret::forms::{Forms, forms, of_bytes};

/// The most texts that the redactor is told for one block. It compares each byte of a log with all of them.
pub const MOST: usize = 4096;

/// Over how many connections the log is told what to hide.
const LANES: usize = 4;

/// The texts to hide for all of these secrets, each once, the most telling of every secret first; how many more there
/// would be.
pub fn of_all<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Forms {
    let each: Vec<Forms> = secrets.map(forms).collect();
    let mut all = Forms { left_out: each.iter().map(|one| one.left_out).sum(), ..Forms::default() };
    let mut seen = BTreeSet::new();
    let longest = each.iter().map(|one| one.texts.len()).max().unwrap_or_default();
    // By rank: a secret of very many parts takes no place of another's own text.
    let by_rank = (0..longest).flat_map(|rank| each.iter().filter_map(move |one| one.texts.get(rank)));
    for text in by_rank.filter(|text| seen.insert(text.expose())) {
        if all.texts.len() < MOST {
            all.texts.push(text.clone());
        } else {
            all.left_out += 1;
        }
    }
    all
}

/// Tells the log to hide these texts.
pub async fn register(job: &JobApi, forms: Forms) -> Result<(), Error> {
    // Few at a time: the socket answers in microseconds, and a connection for each would cost more.
    let lane = async |texts: &[Secret]| {
        for text in texts {
            job.redact(text).await?;
        }
        Ok(())
    };
    let lanes = forms.texts.chunks(forms.texts.len().div_ceil(LANES).max(1)).map(lane);
    try_join_all(lanes).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_very_many_parts_leave_every_other_its_own_text() {
        let parts = |of: usize| -> Vec<String> { (0..600).map(|part| format!("part-{of}-{part}")).collect() };
        let large = (0..9).map(|of| Secret::new(serde_json::to_string(&parts(of)).unwrap()));
        let secrets: Vec<Secret> = large.chain([Secret::new("the-last-secret")]).collect();
        let all = of_all(secrets.iter());
        assert_eq!(all.texts.len(), MOST);
        assert!(all.left_out > 0 && all.texts.iter().any(|text| text.expose() == "the-last-secret"));
    }
}
