//! Views: the record of a job in the formats of others. Each is a pure function of the links; nothing is in a view that
//! is not in the record.

pub mod account;
pub mod cdevents;
pub mod dataset;
pub mod openlineage;

pub use account::Account;
