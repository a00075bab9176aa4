//! What is asked of an owner in its own process.

use flowmill_engine::fact::Fact;
use flowmill_engine::run::{Input, Run};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::tenants::DEFAULT_TENANT;

use crate::active::go_on;
use crate::fence::fenced;
use crate::handle::{Done, Request, Submission, SubmitError, Taken};

use super::Owner;

impl Owner {
    /// What somebody asked for.
    pub(crate) fn request(&mut self, now: Time, request: Request) {
        // whoever asked may be gone, so nobody minds an answer that cannot be sent
        match request {
            Request::Submit(submission, done) => {
                if let Err((error, done)) = self.submit(now, *submission, done) {
                    let _ = done.send(Err(error));
                }
            }
            Request::Resume(run, inputs, done) => {
                if let Err((error, done)) = self.resume(now, *run, inputs, done) {
                    let _ = done.send(Err(error));
                }
            }
            Request::Signal(run, input, taken) => match self.apply(now, &run, input) {
                Ok(()) => self.answer_later(&run, taken),
                Err(reason) => {
                    let _ = taken.send(Err(reason));
                }
            },
        }
    }

    fn submit(
        &mut self,
        now: Time,
        submission: Submission,
        done: Done,
    ) -> Result<(), (SubmitError, Done)> {
        let Submission { plan, start } = submission;
        if self.runs.contains_key(&start.run) {
            return Err((SubmitError::Exists, done));
        }
        match fenced(|| Run::start(plan, start, now)) {
            Ok((run, facts)) => {
                self.take_in(now, run, facts, done);
                Ok(())
            }
            Err(why) => Err((SubmitError::Internal(why), done)),
        }
    }

    /// Takes up a run that left memory. It is told all of `inputs`, or is not taken up.
    fn resume(
        &mut self,
        now: Time,
        mut run: Run,
        inputs: Vec<Input>,
        done: Done,
    ) -> Result<(), (SubmitError, Done)> {
        if self.runs.contains_key(run.id()) {
            return Err((SubmitError::Exists, done));
        }
        match fenced(|| go_on(&mut run, now, inputs)) {
            Ok(Ok(facts)) => {
                self.take_in(now, run, facts, done);
                Ok(())
            }
            Ok(Err(reason)) => Err((reason.into(), done)),
            Err(why) => Err((SubmitError::Internal(why), done)),
        }
    }

    fn take_in(&mut self, now: Time, run: Run, fresh: Vec<Fact>, done: Done) {
        self.hold(now, run, (DEFAULT_TENANT.into(), "".into()), fresh, Some(done));
    }

    /// An answer to a signal that was taken is due when its facts are stored.
    fn answer_later(&mut self, id: &Name, taken: Taken) {
        match self.runs.get_mut(id) {
            Some(active) if active.is_changed => active.taken.push(taken),
            _ => {
                let _ = taken.send(Ok(()));
            }
        }
    }
}
