//! What may be spent.

use std::collections::BTreeMap;
use std::time::Duration;

use flowmill_engine::value::Name;

use super::entry::Entry;
use crate::file::Section;

/// How long a tenant's budget lasts if nobody says otherwise.
const DAY: Duration = Duration::from_hours(24);

/// What one party may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Tokens, read and written; None: any number.
    pub tokens: Option<u64>,
    /// Money, in ten-millionths; None: any amount.
    pub money: Option<u64>,
    /// For how long that is; None: for as long as the party exists.
    pub per: Option<Duration>,
}

/// What runs, batches and tenants may spend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Each run.
    pub run: Option<Budget>,
    /// All runs of a batch together.
    pub batch: Option<Budget>,
    /// Each tenant that is not named.
    pub tenant: Option<Budget>,
    /// Tenants by their names.
    pub tenants: BTreeMap<Name, Budget>,
}

impl Budgets {
    /// Reads the section `budgets`.
    pub(crate) fn read(section: Section<'_>, entries: &[Entry]) -> Self {
        let run = section.section("run").map(|section| read(section, None));
        let batch = section.section("batch").map(|section| read(section, None));
        let tenant = section.section("tenant").map(|section| read(section, Some(DAY)));
        let tenants: BTreeMap<Name, Budget> = section
            .named("tenants")
            .into_iter()
            .map(|(name, section)| (name.into(), read(section, Some(DAY))))
            .collect();
        let currency = section.text("currency").unwrap_or("USD");
        let all = run.iter().chain(&batch).chain(&tenant).chain(tenants.values());
        let prices = entries.iter().filter_map(|entry| entry.pricing.as_ref());
        let other = prices.map(|price| &price.currency).find(|used| &***used != currency);
        if let Some(other) = other.filter(|_| all.clone().any(|budget| budget.money.is_some())) {
            let message = format!("models have prices in {other}, and budgets are in {currency}");
            section.wrong("currency", message);
        }
        section.finish();
        Self { run, batch, tenant, tenants }
    }

    /// What a tenant may spend.
    pub fn of_tenant(&self, tenant: &str) -> Option<&Budget> {
        self.tenants.get(tenant).or(self.tenant.as_ref())
    }

    /// Whether anything is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn read(section: Section<'_>, usual: Option<Duration>) -> Budget {
    let per = usual.map(|usual| section.period("per").unwrap_or(usual));
    let (tokens, money) = (section.count("tokens"), section.decimal("money"));
    if tokens.is_none() && money.is_none() {
        section.wrong("", "it needs tokens or money");
    }
    section.finish();
    Budget { tokens, money: money.map(|money| money.parts()), per }
}
