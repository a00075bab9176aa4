//! All tools of a process: those that a services file binds, and those that need nobody.

use std::sync::{Mutex, PoisonError};

use flowmill_engine::value::Object;
use flowmill_services::tools::{Call, Description, Message, ToolError, ToolErrorKind, Wanted};

use super::builtin::{self, Builtin};
use super::outside::NodeOutside;
use super::results::{Collected, Results};
use crate::context::NodeContext;

/// What a tool is and takes. A services file goes before what is built in.
///
/// # Errors
/// [`ToolErrorKind::NotBound`] when nobody answers for it.
pub(crate) async fn describe(
    wanted: &Wanted,
    context: &NodeContext,
) -> Result<Description, ToolError> {
    let bound = context.services.tools.describe(wanted, &context.caller).await;
    match (bound, builtin::find(wanted)) {
        (Err(error), Some(builtin)) if error.kind == ToolErrorKind::NotBound => {
            Ok(builtin.describe())
        }
        (bound, _) => bound,
    }
}

/// Calls a tool and gives what it said, with its files kept. `arguments` are cast already. Text is
/// handed to whoever follows the node if `streams`. `name` tells the calls of an attempt apart.
///
/// # Errors
/// [`ToolError`] when it did not do what it was asked.
pub(crate) async fn call(
    wanted: &Wanted,
    arguments: &Object,
    (context, name): (&NodeContext, &str),
    streams: bool,
) -> Result<Results, ToolError> {
    let outside = NodeOutside::new(context, name);
    let collected = Mutex::new(Collected::default());
    let take = |message: Message| {
        let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        collected.take(message, streams.then_some(context));
    };
    let caller = &context.caller;
    let timeout = context.timeout;
    let call = Call { wanted, arguments, caller, outside: &outside, timeout, on_message: &take };
    match context.services.tools.call(call).await {
        Err(error) if error.kind == ToolErrorKind::NotBound => match builtin::find(wanted) {
            Some(builtin) => run(builtin, arguments, context, &take).await?,
            None => return Err(error),
        },
        bound => bound?,
    }
    let collected = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    collected.finish(context).await
}

async fn run(
    builtin: Builtin,
    arguments: &Object,
    context: &NodeContext,
    take: &(dyn Fn(Message) + Send + Sync),
) -> Result<(), ToolError> {
    let said = builtin.call(arguments, context).await?;
    take(Message::text(said));
    Ok(())
}
