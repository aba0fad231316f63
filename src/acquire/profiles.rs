//! Profiles of AWS of an earlier use of the plugin, which stay beside those that are lent now.

use std::path::Path;

use crate::context::Context;
use dataflow_config::aws::FILES;
use dataflow_host::files;
use dataflow_lease::journal::Journal;
use dataflow_lease::private;
use dataflow_record::parts::Finding;
use dataflow_types::credential::{Content, Credential, EnvName, PrivateFile};
use dataflow_types::finding;
use dataflow_types::secret::Secret;

/// Adds them to `files`; what a reader should know of those that are covered.
pub(crate) fn keep(context: &Context<'_>, lent: &[Credential], files: &mut Vec<PrivateFile>) -> Vec<Finding> {
    let (kept, findings) = earlier(context, lent.iter().flat_map(|one| &one.files));
    files.extend(kept);
    findings
}

/// What earlier uses left in the files of the same names, without the profiles that are lent anew, and what a reader
/// should know of those.
fn earlier<'a>(
    context: &Context<'_>,
    ours: impl Iterator<Item = &'a PrivateFile>,
) -> (Vec<PrivateFile>, Vec<Finding>) {
    let (mut kept, mut findings) = (Vec::new(), Vec::new());
    for file in ours {
        let Some(ours) = file.content.text() else { continue };
        let Some(theirs) = standing(context, &file.name) else { continue };
        let (others, covered) = beside(theirs.expose(), ours.expose());
        let others = Content::Text(Secret::new(others));
        kept.push(PrivateFile { name: file.name.clone(), content: others, secret: false });
        findings.extend(covered.into_iter().map(|section| {
            let what =
                format!("`{section}` was lent by an earlier use of the plugin already: this one is used now");
            Finding::new(finding::Ident::VariableCovered, what)
        }));
    }
    findings.dedup_by(|one, other| one.what == other.what);
    (kept, findings)
}

/// The file of this name that an earlier use handed over, where that use is one of this job's.
fn standing(context: &Context<'_>, name: &str) -> Option<Secret> {
    let named = |variable: &&str| {
        let variable: EnvName = variable.parse().ok()?;
        let path = Path::new(context.host.env.standing(&variable)?.expose()).to_owned();
        path.ends_with(name).then_some(path)
    };
    let path = FILES.iter().find_map(named)?;
    let of_this_job = |folder: &std::path::PathBuf| {
        let opened = Journal::peek(folder);
        let ours = opened.is_some_and(|opened| opened.bootstrap == context.bootstrap);
        ours && path.parent() == Some(private::of(folder).as_path())
    };
    context.state.blocks().iter().find(|folder| of_this_job(folder))?;
    String::from_utf8(files::read(&path).ok()?).ok().map(Secret::new)
}

/// The sections of one file that another does not have, and the headings of those that it has too.
fn beside(theirs: &str, ours: &str) -> (String, Vec<String>) {
    let is_heading = |line: &str| line.starts_with('[');
    let known: Vec<&str> = ours.lines().filter(|line| is_heading(line)).collect();
    let (mut others, mut covered, mut wanted) = (String::new(), Vec::new(), false);
    for line in theirs.lines() {
        if is_heading(line) {
            wanted = !known.contains(&line);
            if !wanted {
                covered.push(line.to_owned());
            }
        }
        if wanted {
            others.push_str(line);
            others.push('\n');
        }
    }
    (others, covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_lent_anew_takes_the_place_of_the_earlier_one() {
        let theirs = "[profile a]\nregion = eu-west-1\n[profile b]\nregion = us-east-1\n[profile c]\n";
        let (others, covered) = beside(theirs, "[profile b]\nregion = eu-west-2\n");
        assert_eq!(others, "[profile a]\nregion = eu-west-1\n[profile c]\n");
        assert_eq!(covered, ["[profile b]"]);
    }
}
