//! A `pipeline.yml`: parsed, expanded and put in order. Text in, values out.

pub mod interpolate;
pub mod plugin;
