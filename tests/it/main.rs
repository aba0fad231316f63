//! The integration tests: one crate, one file per story.
#![expect(missing_docs, reason = "a test's name is its documentation")]

mod floors;
