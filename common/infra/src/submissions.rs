//! Submissions that come as messages: who takes them from the broker, and what becomes of each.
//!
//! A message stays the broker's until what it asks for is durable, or it lies among the dead letters
//! with the reason. A process that dies in between has it delivered again, elsewhere.

use std::future::Future;

use flowmill_engine::value::Name;

/// The header by which a message says whose it is.
pub(crate) const TENANT_HEADER: &str = "flowmill-tenant";

/// A submission, as it was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// The queue it came by.
    pub queue: Name,
    /// What it says.
    pub body: Vec<u8>,
    /// What its publisher calls it.
    pub message_id: Option<Name>,
    /// What its body is said to be.
    pub content_type: Option<Name>,
    /// How its body is said to be packed.
    pub content_encoding: Option<Name>,
    /// What kind of message it is said to be: the property `type`.
    pub kind: Option<Name>,
    /// Whose it is said to be.
    pub tenant: Option<Name>,
    /// Of a batch: what is asked for, as the query of an address.
    pub batch: Option<Name>,
    /// Its place in a trace, as W3C's header `traceparent` has it.
    pub traceparent: Option<Name>,
}

/// Why a message is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs; it stays the same from release to release.
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

/// Takes submissions from the broker. Several may do so: each message comes to one of them. Nothing
/// is lost when a call is dropped before it is done.
pub trait SubmissionConsumer: Send + 'static {
    /// What settles a message.
    type Receipt: SubmissionReceipt;

    /// The next message, from when it is asked for; no more are in hand than were agreed on. Waits
    /// while the broker is away. None when it can never be used.
    fn next(&mut self) -> impl Future<Output = Option<(Submitted, Self::Receipt)>> + Send;

    /// Takes nothing more until it is asked for the next: what was delivered and is not settled
    /// goes back to the queue, and so to others. Receipts that are left do nothing.
    fn rest(&mut self) -> impl Future<Output = ()> + Send;
}

/// Settles a message. One that is dropped settles nothing: the message is delivered again once the
/// consumer [rests](SubmissionConsumer::rest) or ends.
pub trait SubmissionReceipt: Send + 'static {
    /// What it asks for is durable: whoever waits for an answer gets this JSON, and the broker
    /// forgets the message.
    fn accept(self, reply: Vec<u8>) -> impl Future<Output = ()> + Send;

    /// It can never be done as it is: it goes among the dead letters, whoever waits gets this
    /// problem (RFC 9457), and the broker forgets the message where it was.
    fn refuse(self, refusal: Refusal, reply: Vec<u8>) -> impl Future<Output = ()> + Send;
}
