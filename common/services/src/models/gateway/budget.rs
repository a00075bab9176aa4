//! What runs, batches and tenants may spend: a call that would go beyond is not made.

use super::super::config::Budget;
use super::super::limits::{Cost, Party, Spent};
use super::super::{ErrorKind, ModelError, Offer};
use super::{Call, Gateway};
use crate::file::decimal::amount;

/// What was set aside for a call.
pub(super) struct Reserved {
    parties: Vec<Party>,
    cost: Cost,
}

impl Gateway {
    /// Sets aside what a call may cost.
    pub(super) async fn reserve(
        &self,
        offer: &Offer,
        call: &Call<'_>,
    ) -> Result<Reserved, ModelError> {
        let budgets = &self.routes.config().budgets;
        let (read, written) = call.tokens;
        let price = offer.pricing.as_ref().map(|pricing| pricing.cost(read, written));
        let money = price.map_or(0, |price| price.prompt + price.completion);
        let cost = Cost { tokens: read + written, money };
        let mut parties = Vec::new();
        let mut add = |kind: &str, name: &str, budget: Option<&Budget>| {
            if let Some(Budget { tokens, money, per }) = budget.filter(|_| !name.is_empty()) {
                let key = format!("{kind}:{name}").into();
                parties.push(Party { key, tokens: *tokens, money: *money, per: *per });
            }
        };
        add("run", call.caller.payer(), budgets.run.as_ref());
        let batch = call.caller.batch.as_deref().unwrap_or_default();
        add("batch", batch, budgets.batch.as_ref());
        add("tenant", &call.caller.tenant, budgets.of_tenant(&call.caller.tenant));
        if !parties.is_empty()
            && let Err(spent) = self.limiter.reserve(&parties, cost).await
        {
            return Err(refusal(offer, &parties, spent, cost));
        }
        Ok(Reserved { parties, cost })
    }

    /// Says what a call cost in the end.
    pub(super) async fn correct(&self, reserved: &Reserved, cost: Cost) {
        let Reserved { parties, cost: before } = reserved;
        if !parties.is_empty() && *before != cost {
            self.limiter.correct(parties, *before, cost).await;
        }
    }
}

fn refusal(offer: &Offer, parties: &[Party], spent: Spent, cost: Cost) -> ModelError {
    let party = parties.get(spent.party);
    let (who, what) = party.map_or(("", ""), |party| party.key.split_once(':').unwrap_or_default());
    let is_over = |most: Option<u64>, spent: u64, cost: u64| {
        most.filter(|most| spent.saturating_add(cost) > *most)
    };
    let tokens = party.and_then(|party| is_over(party.tokens, spent.spent.tokens, cost.tokens));
    let money = party.and_then(|party| is_over(party.money, spent.spent.money, cost.money));
    let why = match (tokens, money) {
        (Some(most), _) => format!("{} of {most} tokens", spent.spent.tokens),
        (None, Some(most)) => format!("{} of {}", amount(spent.spent.money), amount(most)),
        (None, None) => "all it may".to_owned(),
    };
    let (provider, name) = (&offer.provider.name, &offer.name);
    let message = format!(
        "{name} of {provider} is not asked: the {who} {what} has spent {why}, and another call may \
         go beyond; budgets in the services file say how much it may spend"
    );
    ModelError::new(ErrorKind::Budget, message)
}
