//! Knowledge bases over real servers: one that speaks Dify's knowledge API, one that speaks its
//! External Knowledge API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod dify;
mod external;
mod stored;
mod world;
