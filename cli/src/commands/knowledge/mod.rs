//! `flowmill knowledge`: knowledge bases of one's own.

mod add;
mod bases;
mod check;
mod files;
mod filter;
mod query;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::value::Name;
use flowmill_infra::tenants::DEFAULT_TENANT;
use flowmill_knowledge::{Base, Store, open};
use flowmill_services::caller::Caller;
use flowmill_services::models::{Models, NoModels};

use crate::services::{KNOWLEDGE_VARIABLE, ServicesFlag, store_url};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A knowledge base is made once; then documents are added, and workflows and people ask it. Without
--embedding it is searched by words and needs no model at all. docs/knowledge-store.md says more.

Examples:
  flowmill knowledge create handbook
  flowmill knowledge create papers --embedding openai/text-embedding-3-small
  flowmill knowledge add handbook docs/ --metadata team=support
  flowmill knowledge query handbook 'how do I get my money back?'
  flowmill knowledge list
  flowmill knowledge check --workflow answers.yml")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a knowledge base.
    Create(bases::Create),
    /// Add documents to a knowledge base, or bring in what changed of them.
    Add(add::Args),
    /// Ask a knowledge base.
    Query(query::Args),
    /// List knowledge bases.
    List(bases::List),
    /// Ask everybody whom the services file names for knowledge, and say who keeps what documents ask for.
    Check(check::Check),
    /// Show a knowledge base and its documents.
    Show(bases::Show),
    /// Make an index of a knowledge base's vectors, for a base with very many passages.
    Index(bases::Index),
    /// Remove a document from a knowledge base.
    Remove(bases::Remove),
    /// Remove a knowledge base with all its documents.
    Drop(bases::Drop),
}

/// Where knowledge bases lie, and whose they are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Place")]
#[group(skip)]
struct Place {
    /// Where knowledge bases lie: sqlite:FILE, a file, a folder with knowledge.db in it, or
    /// `postgres://…` [default: knowledge.db].
    #[arg(long = "store", value_name = "URL", env = KNOWLEDGE_VARIABLE, hide_env_values = true)]
    store: Option<String>,
    /// Whose they are.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TENANT)]
    tenant: String,
}

impl Place {
    fn url(&self) -> String {
        store_url(self.store.as_deref())
    }

    fn caller(&self) -> Caller {
        let tenant = Name::from(self.tenant.as_str());
        Caller { tenant, node: "flowmill knowledge".into(), ..Caller::default() }
    }

    /// The store without models.
    fn open(&self) -> anyhow::Result<Store> {
        Ok(open(&self.url(), Arc::new(NoModels))?)
    }

    /// A base, and the store with the models that it needs.
    async fn base(&self, name: &str, services: &ServicesFlag) -> anyhow::Result<(Store, Base)> {
        let store = self.open()?;
        let base = store.base(&self.tenant, name).await?;
        if base.settings.embedding.is_none() && base.settings.rerank.is_none() {
            return Ok((store, base));
        }
        let models: Arc<dyn Models> = Arc::new(services.models()?);
        Ok((open(&self.url(), models)?, base))
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    // large futures: on the heap
    runtime.block_on(Box::pin(async {
        match &args.verb {
            Verb::Create(args) => bases::create(args).await,
            Verb::Add(args) => return add::run(args).await,
            Verb::Query(args) => query::run(args).await,
            Verb::Check(args) => return check::run(args).await,
            Verb::List(args) => bases::list(args).await,
            Verb::Show(args) => bases::show(args).await,
            Verb::Index(args) => bases::index(args).await,
            Verb::Remove(args) => bases::remove(args).await,
            Verb::Drop(args) => bases::drop(args).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }))
}
