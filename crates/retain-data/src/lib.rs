//! Reads feature tables (CSV, Parquet) and task files into checked datasets and splits them by time and group.

mod dataset;

pub use dataset::Dataset;
