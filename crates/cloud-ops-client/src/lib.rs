#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Client`] has a method for each call, [`Spec`] is the part of a namespace that must never lose a field,
//! and [`Error`] explains a failure.

mod billing;
mod capacity;
mod client;
mod config;
mod error;
mod identity;
mod namespaces;
mod retry;
mod spec;
mod wire;

pub use billing::{
    BillingDownload, BillingFileFormat, BillingGranularity, BillingReport, BillingReportCreated,
    BillingReportSpec, BillingReportState, Charge, read_charges,
};
pub use capacity::{Capacity, CapacityMode, CapacityRequest, CapacityRequestState, CapacitySpec};
pub use client::Client;
pub use config::{API_VERSION, Config, ConfigError, PUBLIC_BASE_URL};
pub use error::{Error, ErrorKind, GrpcCode, Refusal};
pub use identity::{AccountRole, Identity, NamespacePermission};
pub use namespaces::{
    AsyncOperation, CapacityInfo, ModeOptions, Namespace, NamespaceUpdate, OnDemandOptions, OperationState,
    ProvisionedOptions, Region, Replica, ReplicaState, ResourceState,
};
pub use spec::{Spec, SpecDifference, SpecDigests, WantedCapacity};

/// The HTTP library, for callers that pass their own client.
pub use reqwest;
