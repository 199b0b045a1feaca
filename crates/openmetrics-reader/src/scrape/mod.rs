//! The scrape client of the Temporal Cloud metrics endpoint.
