//! Tenants, and the keys by which their callers are known.
//!
//! What belongs to a tenant names it in its own row; here is only who there is. One tenant is always
//! there: [`DEFAULT_TENANT`].

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;

/// The tenant that is always there: whose everything is of whoever names none.
pub const DEFAULT_TENANT: &str = "default";

/// The most tenants.
pub const MOST_TENANTS: usize = 10_000;

/// The most keys of a tenant, those among them that are of no more use and not forgotten yet.
pub const MOST_KEYS: usize = 1000;

/// How long a key is shown that was revoked or has expired.
pub const SHOWN: Duration = Duration::from_hours(30 * 24);

/// How often at most it is written down that a key was used.
pub const USES: Duration = Duration::from_mins(1);

/// Letters of a tenant's name.
const NAME: usize = 64;

/// Who shares a deployment with others, and sees nothing of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// What it is called.
    pub name: Name,
    /// Since when it is there.
    pub created_at: Time,
}

/// Why a text is no name of a tenant, a fragment.
pub fn objection(name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=NAME).contains(&name.len()) && name.bytes().all(is_plain);
    (!fits || name.starts_with('-')).then(|| {
        format!(
            "{name:?} is no name of a tenant: it has 1 to {NAME} of a-z, 0-9 and -, and does not \
             begin with -"
        )
    })
}

/// Something that a caller may be let do. They are in order: whoever may do one may do those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To look at what its tenant has.
    Read,
    /// To submit runs and batches, to run them again, to hand in files, to answer forms.
    Submit,
    /// To do whatever can be done for its tenant.
    Write,
    /// To do that for every tenant, and to look after tenants and keys.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Write, Self::Admin];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == word)
    }
}

/// What a key is made for: a set of scopes with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Looks on.
    Viewer,
    /// Is a program that has work done.
    Submitter,
    /// Looks after the workflows and runs of a tenant.
    Operator,
    /// Looks after the deployment.
    Admin,
}

impl Role {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Submitter, Self::Operator, Self::Admin];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == word)
    }

    /// The last of its scopes, by which it is kept.
    pub fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::Read,
            Self::Submitter => Scope::Submit,
            Self::Operator => Scope::Write,
            Self::Admin => Scope::Admin,
        }
    }

    /// The role whose last scope this is.
    pub fn up_to(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Viewer,
            Scope::Submit => Self::Submitter,
            Scope::Write => Self::Operator,
            Scope::Admin => Self::Admin,
        }
    }

    /// What it may.
    pub fn scopes(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.allows(*scope))
    }

    /// Whether it may.
    pub fn allows(self, scope: Scope) -> bool {
        scope <= self.scope()
    }
}

/// How often somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// The keyed hash of a key. The key itself is kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(***)")
    }
}

/// A key by which a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What it is found by; no secret.
    pub id: Name,
    /// Whose it is.
    pub tenant: Name,
    /// What it is for.
    pub name: Name,
    /// What it allows.
    pub role: Role,
    /// What the whole key is compared with.
    pub hash: KeyHash,
    /// The secret that this one replaced, while that is still of use.
    pub former: Option<Former>,
    /// When its secret was replaced last.
    pub rotated_at: Option<Time>,
    /// How often it may ask; None: as the deployment says.
    pub rate: Option<Rate>,
    /// Since when it is there.
    pub created_at: Time,
    /// From when on it is of no more use by itself.
    pub expires_at: Option<Time>,
    /// From when on somebody wanted it to be of no more use.
    pub revoked_at: Option<Time>,
    /// When it was used last, to a minute or so.
    pub used_at: Option<Time>,
}

/// A secret that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// What the whole key is compared with.
    pub hash: KeyHash,
    /// Until when it is of use.
    pub until: Time,
}

/// A new secret for a key.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// What the whole key is compared with from now on.
    pub hash: KeyHash,
    /// How long the present one stays of use.
    pub overlap: Duration,
    /// From when on the key is of no more use; None: as it was.
    pub expires_at: Option<Time>,
}

/// What became of a key whose secret was to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It has the new one. The one before the present one is of no more use.
    Done,
    /// It was revoked or has expired.
    Ended,
    /// There is none.
    Unknown,
}

/// What became of a tenant that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedTenant {
    /// It is there from now on.
    New,
    /// It was there before.
    There,
    /// There are [`MOST_TENANTS`].
    Full,
    /// What a removed tenant of this name had is still being removed.
    Leaving,
}

/// What became of a tenant that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedTenant {
    /// It is gone, and its keys with it.
    Gone,
    /// There is none of this name.
    Unknown,
    /// It has runs or batches that have not ended, or is the one that is always there.
    Needed,
}

/// What became of a key that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedKey {
    /// It is of use from now on.
    New,
    /// There is no such tenant.
    NoTenant,
    /// The tenant has [`MOST_KEYS`].
    Full,
}

/// The store, for whoever looks after tenants and their keys, and whoever asks who a caller is.
pub trait Tenants: Send + Sync + 'static {
    /// All tenants, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn tenants(&self) -> impl Future<Output = Result<Vec<Tenant>, StoreError>> + Send;

    /// A tenant.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn tenant(
        &self,
        name: &Name,
    ) -> impl Future<Output = Result<Option<Tenant>, StoreError>> + Send;

    /// Adds a tenant.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn add_tenant(
        &self,
        name: &Name,
    ) -> impl Future<Output = Result<AddedTenant, StoreError>> + Send;

    /// Removes a tenant that nothing goes on for. What it had is out of everybody's reach, and removed by
    /// the next purge ([`crate::retention`]); nobody gets its name before.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn remove_tenant(
        &self,
        name: &Name,
    ) -> impl Future<Output = Result<RemovedTenant, StoreError>> + Send;

    /// Keys of a tenant, or all there are, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn keys(
        &self,
        tenant: Option<&Name>,
    ) -> impl Future<Output = Result<Vec<ApiKey>, StoreError>> + Send;

    /// A key by its id.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn key(&self, id: &Name) -> impl Future<Output = Result<Option<ApiKey>, StoreError>> + Send;

    /// Adds a key, whose id nobody has, and forgets those of its tenant that are of no use for longer
    /// than [`SHOWN`]. When it is added says the store, and it was never revoked or used.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn add_key(&self, key: &ApiKey) -> impl Future<Output = Result<AddedKey, StoreError>> + Send;

    /// Gives a key another secret; what else is known of it stays.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn rotate_key(
        &self,
        id: &Name,
        rotation: &Rotation,
    ) -> impl Future<Output = Result<Rotated, StoreError>> + Send;

    /// Makes a key of no more use; one that is so already stays as it is. False when there is none.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn revoke_key(&self, id: &Name) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that keys were used just now; of which it was noted within [`USES`], nothing is written.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn note_uses(&self, ids: &[Name]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tenants_are_plain() {
        for name in ["default", "a", "0", "acme-2", &"x".repeat(64)] {
            assert_eq!(objection(name), None, "{name}");
        }
        for name in ["", "Acme", "a b", "a_b", "-a", "a/b", "..", "\u{e9}", &"x".repeat(65)] {
            assert!(objection(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_role_allows_its_scope_and_those_before() {
        for (at, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!((Role::of(role.name()), Role::up_to(role.scope())), (Some(role), role));
            assert_eq!(role.scopes().collect::<Vec<_>>(), Scope::ALL[..=at]);
            assert!(!Scope::ALL[at + 1..].iter().any(|scope| role.allows(*scope)));
        }
        for scope in Scope::ALL {
            assert_eq!(Scope::of(scope.name()), Some(scope));
        }
        assert_eq!(Scope::of("all"), None);
        assert_eq!(format!("{:?}", KeyHash([7; 32])), "KeyHash(***)");
    }
}
