//! What the log is told to hide: every form of every secret of a block, within a bound.

use std::collections::HashSet;

use futures_util::future::try_join_all;

use crate::agent::job_api::{Error, JobApi};
use crate::secret::Secret;
pub use crate::secret::forms::{Forms, forms, of_bytes};

/// The most texts that the redactor is told for one block. It compares each byte of a log with all of them.
pub const MOST: usize = 4096;

/// Over how many connections the log is told what to hide.
const LANES: usize = 4;

/// The texts to hide for all of these secrets, each once; how many more there would be.
pub fn of_all<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Forms {
    let mut all = Forms::default();
    let mut seen = HashSet::new();
    let each: Vec<Forms> = secrets.map(forms).collect();
    for (place, left_out) in each.iter().map(|one| (&one.texts, one.left_out)) {
        all.left_out += left_out;
        for text in place.iter().filter(|text| seen.insert(text.expose())) {
            if all.texts.len() < MOST {
                all.texts.push(text.clone());
            } else {
                all.left_out += 1;
            }
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
