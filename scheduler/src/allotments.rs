//! What an owner knows of who may have how much: shares as they were set, and its own part of what is
//! limited.

use std::collections::BTreeMap;

use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shares::{Allotted, Party, Quota, Share};

/// Shares and parts, by tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allotments {
    tenants: BTreeMap<Name, OfTenant>,
    has_limits: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfTenant {
    whole: Option<Allotment>,
    workflows: BTreeMap<Name, Allotment>,
    batches: BTreeMap<Name, Allotment>,
}

/// A share, and an owner's part of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allotment {
    pub(crate) share: Share,
    /// Of runs; 0 until the store has said how much. It counts where there is a limit.
    runs: u32,
    /// The same of tasks.
    tasks: u32,
}

impl Allotment {
    /// The most runs here; None where there is no limit.
    pub(crate) fn runs(&self) -> Option<usize> {
        self.share.runs.map(|limit| part(limit, self.runs))
    }

    /// The most tasks here.
    pub(crate) fn tasks(&self) -> Option<usize> {
        self.share.tasks.map(|limit| part(limit, self.tasks))
    }

    fn is_limited(&self) -> bool {
        self.share.runs.is_some() || self.share.tasks.is_some()
    }
}

/// A limit that was lowered counts at once, whatever was said of it before.
fn part(limit: u32, quota: u32) -> usize {
    usize::try_from(limit.min(quota)).unwrap_or(usize::MAX)
}

impl Allotments {
    /// What the store says of shares and of this owner's parts.
    pub(crate) fn of(shares: &[Allotted], quotas: &[Quota]) -> Self {
        let mut allotments = Self::default();
        for Allotted { tenant, party, share } in shares {
            let allotment = Allotment { share: *share, runs: 0, tasks: 0 };
            allotments.has_limits |= allotment.is_limited();
            *allotments.entry(tenant, party) = allotment;
        }
        for Quota { tenant, party, runs, tasks } in quotas {
            if allotments.get(tenant, party).is_some() {
                let allotment = allotments.entry(tenant, party);
                allotment.runs = runs.unwrap_or(0);
                allotment.tasks = tasks.unwrap_or(0);
            }
        }
        allotments
    }

    fn entry(&mut self, tenant: &Name, party: &Party) -> &mut Allotment {
        let of = self.tenants.entry(tenant.clone()).or_default();
        match party {
            Party::Tenant => of.whole.get_or_insert_default(),
            Party::Workflow(name) => of.workflows.entry(name.clone()).or_default(),
            Party::Batch(batch) => of.batches.entry(batch.clone()).or_default(),
        }
    }

    fn get(&self, tenant: &Name, party: &Party) -> Option<&Allotment> {
        let of = self.tenants.get(tenant)?;
        match party {
            Party::Tenant => of.whole.as_ref(),
            Party::Workflow(name) => of.workflows.get(name),
            Party::Batch(batch) => of.batches.get(batch),
        }
    }

    /// Whether anything has a limit.
    pub(crate) fn has_limits(&self) -> bool {
        self.has_limits
    }

    /// All that has a limit.
    pub(crate) fn limited(&self) -> impl Iterator<Item = (&Name, Party, &Allotment)> {
        let all = self.tenants.iter().flat_map(|(tenant, of)| {
            let whole = of.whole.iter().map(|allotment| (Party::Tenant, allotment));
            let workflows =
                of.workflows.iter().map(|(name, it)| (Party::Workflow(name.clone()), it));
            let batches = of.batches.iter().map(|(name, it)| (Party::Batch(name.clone()), it));
            let parties = whole.chain(workflows).chain(batches);
            parties.map(move |(party, allotment)| (tenant, party, allotment))
        });
        all.filter(|(_, _, allotment)| allotment.is_limited())
    }

    /// What holds for a flow: for its tenant, its document and its batch.
    pub(crate) fn of_flow<'a>(
        &'a self,
        flow: &Flow,
    ) -> impl Iterator<Item = (Party, &'a Allotment)> + use<'a> {
        let of = self.tenants.get(&flow.tenant);
        let whole = of.and_then(|of| of.whole.as_ref()).map(|it| (Party::Tenant, it));
        let workflow = of.and_then(|of| of.workflows.get(&flow.workflow));
        let workflow = workflow.map(|it| (Party::Workflow(flow.workflow.clone()), it));
        let batch = flow.batch.as_ref();
        let batch = batch.and_then(|batch| {
            of.and_then(|of| of.batches.get(batch)).map(|it| (Party::Batch(batch.clone()), it))
        });
        whole.into_iter().chain(workflow).chain(batch)
    }

    /// How much a tenant gets beside others.
    pub(crate) fn weight_of_tenant(&self, tenant: &Name) -> u64 {
        let found = self.tenants.get(tenant).and_then(|of| of.whole.as_ref());
        weight(found)
    }

    /// How much a flow gets beside others of its tenant: its batch's weight, if that has one, else
    /// its document's.
    pub(crate) fn weight(&self, flow: &Flow) -> u64 {
        let of = self.tenants.get(&flow.tenant);
        let batch = flow.batch.as_ref().and_then(|batch| of?.batches.get(batch));
        weight(batch.or_else(|| of?.workflows.get(&flow.workflow)))
    }
}

fn weight(allotment: Option<&Allotment>) -> u64 {
    allotment.map_or(1, |allotment| allotment.share.weight.max(1).into())
}

/// How much somebody has of what is their due: who has little comes first.
pub(crate) fn fullness(held: usize, weight: u64) -> u64 {
    (u64::try_from(held).unwrap_or(u64::MAX) << 20) / weight
}

/// Whether a flow belongs to a party of its tenant.
pub(crate) fn is_of(flow: &Flow, party: &Party) -> bool {
    match party {
        Party::Tenant => true,
        Party::Workflow(name) => flow.workflow == *name,
        Party::Batch(batch) => flow.batch.as_ref() == Some(batch),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::fact::Lane;

    use super::*;

    fn flow(tenant: &str, workflow: &str, batch: Option<&str>) -> Flow {
        let batch = batch.map(Name::from);
        Flow { lane: Lane::Batch, tenant: tenant.into(), workflow: workflow.into(), batch }
    }

    fn held(tenant: &str, party: Party, weight: u32, runs: Option<u32>) -> Allotted {
        Allotted { tenant: tenant.into(), party, share: Share { weight, runs, tasks: None } }
    }

    #[test]
    fn what_holds_for_a_flow_is_found() {
        let shares = [
            held("t", Party::Tenant, 2, Some(10)),
            held("t", Party::Workflow("w".into()), 3, None),
            held("t", Party::Batch("b".into()), 5, Some(4)),
        ];
        let (tenant, party) = ("t".into(), Party::Tenant);
        let told = Quota { tenant, party, runs: Some(6), tasks: None };
        let allotments = Allotments::of(&shares, &[told]);
        let runs = |flow: &Flow| -> Vec<Option<usize>> {
            allotments.of_flow(flow).map(|(_, allotment)| allotment.runs()).collect()
        };
        // of the batch nothing was said yet
        assert_eq!(runs(&flow("t", "w", Some("b"))), [Some(6), None, Some(0)]);
        assert_eq!(runs(&flow("t", "v", None)), [Some(6)]);
        assert_eq!(runs(&flow("u", "w", Some("b"))), []);
        let weights = [flow("t", "w", Some("b")), flow("t", "w", None), flow("t", "v", Some("c"))];
        assert_eq!(weights.map(|flow| allotments.weight(&flow)), [5, 3, 1]);
        assert_eq!(allotments.weight_of_tenant(&"t".into()), 2);
        assert_eq!(allotments.limited().count(), 2);
    }

    #[test]
    fn a_lowered_limit_counts_at_once() {
        let told = Quota { tenant: "t".into(), party: Party::Tenant, runs: Some(6), tasks: None };
        let shares = [held("t", Party::Tenant, 1, Some(2))];
        let allotments = Allotments::of(&shares, &[told]);
        let found: Vec<_> = allotments.limited().map(|(_, _, it)| it.runs()).collect();
        assert_eq!(found, [Some(2)]);
    }
}
