//! Variables that SDKs and tools read beside what a step is lent, and what is done about each that is set.
//!
//! A process of the job always starts on top of the agent's own environment, so that a variable which is taken
//! away would come back. It is made empty where its readers take empty for absent, else it gets the value that is
//! right beside what is lent, else a reader of the record is told of it.

mod table;

pub use table::TABLE;

/// One variable that competes with what is handed over.
#[derive(Debug)]
pub struct Line {
    /// Whose tools read it.
    pub provider: &'static str,
    /// The variables of which any one, handed over, makes it compete.
    pub beside: &'static [&'static str],
    /// The variable.
    pub name: &'static str,
    /// Where it competes at all.
    pub when: When,
    /// What is done about it.
    pub remedy: Remedy,
    /// What its readers would do with it.
    pub because: &'static str,
    /// The tool that a test asks; `None` where none of its readers is at hand.
    pub judge: Option<&'static str>,
}

/// Where a variable competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Wherever it stands beside what is handed over.
    Always,
    /// Where tools take a profile of ours without being told its name on their command line.
    ProfileChosen,
    /// Where they do not.
    ProfileNotChosen,
    /// Where `AWS_PROFILE` names a profile of ours.
    ProfileNamed,
    /// Where the variable itself chooses a profile that is none of ours.
    NamesAnother,
}

/// What is done about a variable that competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is empty for the step.
    Empty,
    /// This variable has this value for the step.
    Set(&'static str, &'static str),
    /// It has the value of this one, and is told of where that is not set.
    Same(&'static str),
    /// The record tells of it, and it stays.
    Warn,
}

/// What was found in the environment, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The variable that competes.
    pub name: &'static str,
    /// The variable that is set because of it, and its value; `None` where the record only tells.
    pub covered: Option<(&'static str, String)>,
    /// Why, for people.
    pub because: &'static str,
}

/// The names of the variables by which the AWS tools choose a profile, the first one read first.
const CHOOSE: [&str; 2] = ["AWS_DEFAULT_PROFILE", "AWS_PROFILE"];

/// What stands in the way of what is handed over. `handed` are the names of the variables, `earlier` those that an
/// earlier use of the plugin handed over, which are not in the way; `profiles` are the names of the profiles in the files
/// that are handed over; `standing` looks into the environment.
pub fn find<'a>(
    handed: &[&str],
    earlier: &[&str],
    profiles: &[&str],
    standing: impl Fn(&str) -> Option<&'a str>,
) -> Vec<Found> {
    let set = |name: &str| standing(name).filter(|value| !value.is_empty());
    let named = |name: &str| set(name).is_some_and(|profile| profiles.contains(&profile));
    // The one that tools take where none is named.
    let default = || profiles.contains(&"default") && CHOOSE.iter().all(|name| set(name).is_none());
    let chosen = CHOOSE.iter().any(|name| named(name)) || default();
    let holds = |line: &Line| match line.when {
        When::Always => true,
        When::ProfileChosen => chosen,
        When::ProfileNotChosen => !chosen,
        When::ProfileNamed => named("AWS_PROFILE"),
        When::NamesAnother => !named(line.name),
    };
    let competes = |line: &&Line| {
        let there = line.beside.iter().any(|name| handed.contains(name)) && set(line.name).is_some();
        let ours = handed.contains(&line.name) || earlier.contains(&line.name);
        there && !ours && holds(line)
    };
    let mut found: Vec<Found> = Vec::new();
    for line in TABLE.iter().filter(competes) {
        let covered = match line.remedy {
            Remedy::Empty => Some((line.name, String::new())),
            Remedy::Set(name, value) => Some((name, value.to_owned())),
            Remedy::Same(other) => set(other).map(|value| (line.name, value.to_owned())),
            Remedy::Warn => None,
        };
        // As it should be already.
        if covered.as_ref().is_some_and(|(name, value)| standing(name) == Some(value.as_str())) {
            continue;
        }
        if !found.iter().any(|one| one.name == line.name) {
            found.push(Found { name: line.name, covered, because: line.because });
        }
    }
    found
}

impl Found {
    /// Whether this variable is set because of it.
    pub fn covers(&self, name: &str) -> bool {
        self.covered.as_ref().is_some_and(|(set, _)| *set == name)
    }

    /// One sentence, for the log and the record.
    pub fn sentence(&self) -> String {
        let Self { name, because, .. } = self;
        match &self.covered {
            Some((set, value)) if value.is_empty() => {
                format!(
                    "`{name}` was set already, and {because}: `{set}` is empty for this step, and comes back after it"
                )
            }
            Some((set, value)) => {
                format!(
                    "`{name}` was set already, and {because}: `{set}` is `{value}` for this step, and goes back after it"
                )
            }
            None => format!("`{name}` is set too: {because}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(handed: &[&str], standing: &[(&'static str, &'static str)]) -> Vec<(String, Option<String>)> {
        let look = |name: &str| standing.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let found = find(handed, &[], &["live"], look).into_iter();
        found
            .map(|one| (one.name.to_owned(), one.covered.map(|(name, value)| format!("{name}={value}"))))
            .collect()
    }

    const KEYS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    const FILES: [&str; 2] = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];

    #[test]
    fn what_is_read_beside_lent_keys_is_covered_and_nothing_else_is() {
        let standing = [("AWS_SECURITY_TOKEN", "stale"), ("AWS_REGION", "eu-west-1"), ("GH_TOKEN", "x")];
        let expected = ("AWS_SECURITY_TOKEN".to_owned(), Some("AWS_SECURITY_TOKEN=".to_owned()));
        assert_eq!(found(&KEYS, &standing), [expected]);
        assert_eq!(found(&["STAGING_AWS_ACCESS_KEY_ID"], &standing), []);
        assert_eq!(found(&KEYS, &[("AWS_SECURITY_TOKEN", "")]), []);
    }

    #[test]
    fn static_keys_are_covered_where_a_lent_profile_is_chosen_and_told_of_where_it_is_not() {
        let keys = ("AWS_ACCESS_KEY_ID", "AKIA");
        let told = found(&FILES, &[keys]);
        assert_eq!(told, [("AWS_ACCESS_KEY_ID".to_owned(), None)]);
        let covered = found(&FILES, &[keys, ("AWS_PROFILE", "live")]);
        assert_eq!(covered, [("AWS_ACCESS_KEY_ID".to_owned(), Some("AWS_ACCESS_KEY_ID=".to_owned()))]);
    }

    #[test]
    fn what_an_earlier_use_of_the_plugin_lent_does_not_compete() {
        let look = |name: &str| ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"].contains(&name).then_some("ours");
        let earlier = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"];
        assert_eq!(find(&FILES, &earlier, &["live"], look), []);
    }

    #[test]
    fn a_second_choice_of_profile_is_made_the_first() {
        let standing = [("AWS_PROFILE", "live"), ("AWS_DEFAULT_PROFILE", "admin")];
        let expected = Some("AWS_DEFAULT_PROFILE=live".to_owned());
        assert_eq!(found(&FILES, &standing), [("AWS_DEFAULT_PROFILE".to_owned(), expected)]);
        assert_eq!(found(&FILES, &standing[1..]), [("AWS_DEFAULT_PROFILE".to_owned(), None)]);
    }

    #[test]
    fn a_choice_of_a_profile_that_is_not_lent_is_reported_and_covers_nothing() {
        let standing = [("AWS_PROFILE", "other"), ("AWS_ACCESS_KEY_ID", "AKIA")];
        let competing = found(&FILES, &standing);
        assert_eq!(competing, [("AWS_ACCESS_KEY_ID".to_owned(), None), ("AWS_PROFILE".to_owned(), None)]);
        let second = [("AWS_PROFILE", "other"), ("AWS_DEFAULT_PROFILE", "live")];
        assert_eq!(found(&FILES, &second), [("AWS_PROFILE".to_owned(), None)]);
    }

    #[test]
    fn an_account_of_the_host_is_covered_beside_what_is_lent() {
        let covered = |name: &str| (name.to_owned(), Some(format!("{name}=")));
        let account = ("AWS_ACCOUNT_ID", "999999999999");
        assert_eq!(found(&KEYS, &[account]), [covered("AWS_ACCOUNT_ID")]);
        let profile = [account, ("AWS_PROFILE", "live")];
        assert_eq!(found(&FILES, &profile), [covered("AWS_ACCOUNT_ID")]);
    }
}
