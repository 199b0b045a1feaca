//! A workflow input that cannot fail to decode, from the worker kit.

pub use temporal_worker_kit::Lenient;
