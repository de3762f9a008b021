//! Time limits. Nothing is set or cleared per event: the reactor keeps one lower bound of all
//! deadlines and looks at the operations only when the clock reaches it.

use loadline_load::Control;
use loadline_schema::outcome::{ErrorKind, Outcome};

use super::Reactor;

impl Reactor<'_> {
    /// A request was sent or began to connect: it may be the next to be late.
    pub(super) fn note_deadline(&mut self, index: u32) {
        let Some(exchange) = &self.connection(index).exchange else { return };
        let deadline = exchange.deadline(&self.settings.timeouts, self.settings.open_loop);
        self.next_deadline_ns = self.next_deadline_ns.min(deadline);
    }

    /// Ends every operation that is over its limit, and finds the next bound.
    pub(super) fn end_overdue(&mut self, control: &mut Control, now: u64) {
        let mut next = u64::MAX;
        for index in 0..self.connections.len() as u32 {
            let Some(connection) = &self.connections[index as usize] else { continue };
            let Some(exchange) = &connection.exchange else { continue };
            let deadline = exchange.deadline(&self.settings.timeouts, self.settings.open_loop);
            if deadline > now {
                next = next.min(deadline);
                continue;
            }
            let (kind, what) = self.limit_passed(index, now);
            self.end_unfinished(control, index, Outcome::TimedOut, kind, what, now);
        }
        self.next_deadline_ns = next;
    }

    /// Which limit it was.
    fn limit_passed(&self, index: u32, now: u64) -> (ErrorKind, &'static str) {
        let limits = &self.settings.timeouts;
        let record = self.connection(index).exchange.as_ref().map(|exchange| &exchange.row.record);
        let sent = record.and_then(|record| record.write_begin_ns);
        let due = record.map(|record| record.intended_ns);
        let total_from = if self.settings.open_loop { due } else { sent };
        if total_from.is_some_and(|from| now >= from.saturating_add(limits.total_ns)) {
            return (ErrorKind::TotalTimeout, "no end of the answer within --timeout");
        }
        match (sent, record.and_then(|record| record.last_token_ns)) {
            (None, _) => (ErrorKind::ConnectTimeout, "no connection within --connect-timeout"),
            (_, None) => (ErrorKind::FirstTokenTimeout, "no token within --first-token-timeout"),
            (_, Some(_)) => (ErrorKind::GapTimeout, "no further token within --gap-timeout"),
        }
    }
}
