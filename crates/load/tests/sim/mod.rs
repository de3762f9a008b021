//! A trial on a manual clock: reactors that may be late, and a server with some slots, a queue and
//! a random service time. What each operation went through is written down.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use loadline_load::{Control, Op, POLL_NS, Shared, Step, TrialLoad};
use loadline_schema::event::EndedEarly;
use loadline_schema::outcome::{ErrorKind, Phase};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the world around the load control behaves.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// Reactors.
    pub(crate) reactors: u32,
    /// Requests that the server works on at once; the others queue.
    pub(crate) server_slots: usize,
    /// Service times are uniform in this range, ns.
    pub(crate) service_ns: (u64, u64),
    /// How late a reactor may look at its sockets and at what is due, ns.
    pub(crate) late_ns: u64,
    /// Whether ends are reported with the moment they happened (a kernel stamp) or were seen.
    pub(crate) stamped: bool,
    /// Share of operations that fail.
    pub(crate) failing: f64,
    /// When somebody stops the trial.
    pub(crate) stop_at: Option<u64>,
    /// Seed of all this.
    pub(crate) seed: u64,
}

impl World {
    /// Punctual reactors, no failures, no stop.
    pub(crate) fn calm(reactors: u32, server_slots: usize, service_ns: (u64, u64)) -> Self {
        Self {
            reactors,
            server_slots,
            service_ns,
            late_ns: 0,
            stamped: false,
            failing: 0.0,
            stop_at: None,
            seed: 1,
        }
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Started and ended at this time.
    Ended(u64),
    /// Started and let go when the trial was over.
    Cancelled,
    /// Not started.
    Dropped(ErrorKind),
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The operation.
    pub(crate) op: Op,
    /// When it was handed out.
    pub(crate) handed_ns: u64,
    /// What became of it.
    pub(crate) fate: Fate,
    /// Its phase, asked for at its end.
    pub(crate) phase: Phase,
}

/// A whole trial.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Every operation in order of its end.
    pub(crate) rows: Vec<Row>,
    /// In flight over all reactors after each instant at which something changed: (time, number).
    pub(crate) in_flight: Vec<(u64, u64)>,
    /// When somebody stopped it.
    pub(crate) stopped_ns: Option<u64>,
    /// When the last reactor was done.
    pub(crate) over_ns: u64,
    /// The trial's state.
    pub(crate) shared: Arc<Shared>,
}

impl Trial {
    /// Rows of a phase.
    pub(crate) fn phase(&self, phase: Phase) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.phase == phase)
    }
}

struct Reactor {
    control: Control,
    /// Operations in flight by the time of their end.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    open: BTreeMap<u64, (Op, u64)>,
    wake_ns: Option<u64>,
    done: bool,
}

struct Simulation<'a> {
    world: &'a World,
    random: ChaCha8Rng,
    /// When each slot of the server is free.
    server: BinaryHeap<Reverse<u64>>,
    trial: Trial,
}

/// Carries a trial out.
///
/// # Panics
/// If the trial does not end.
pub(crate) fn run(load: &TrialLoad, world: &World) -> Trial {
    let shared = Shared::new(load, world.reactors);
    let mut reactors: Vec<Reactor> = (0..world.reactors)
        .map(|number| Reactor {
            control: Control::new(load, Arc::clone(&shared), number, world.reactors),
            ends: BinaryHeap::new(),
            open: BTreeMap::new(),
            wake_ns: Some(load.start_ns),
            done: false,
        })
        .collect();
    let mut simulation = Simulation {
        world,
        random: ChaCha8Rng::seed_from_u64(world.seed),
        server: (0..world.server_slots).map(|_| Reverse(load.start_ns)).collect(),
        trial: Trial {
            rows: Vec::new(),
            in_flight: Vec::new(),
            stopped_ns: None,
            over_ns: 0,
            shared,
        },
    };
    let mut stop_at = world.stop_at;
    for _ in 0..5_000_000 {
        let next = (0..reactors.len()).filter_map(|i| Some((reactors[i].wake_ns?, i))).min();
        let Some((now, i)) = next else {
            assert!(reactors.iter().all(|reactor| reactor.done), "a reactor waits for ever");
            return simulation.trial;
        };
        if stop_at.is_some_and(|at| at <= now) {
            stop_at = None;
            simulation.trial.stopped_ns = Some(now);
            simulation.trial.shared.stop(EndedEarly::Interrupted);
            for reactor in reactors.iter_mut().filter(|reactor| !reactor.done) {
                reactor.wake_ns = Some(now);
            }
            continue;
        }
        simulation.wake(&mut reactors[i], now);
        let in_flight = reactors.iter().map(|reactor| reactor.open.len() as u64).sum();
        simulation.trial.in_flight.push((now, in_flight));
    }
    panic!("the trial does not end");
}

impl Simulation<'_> {
    /// One turn of a reactor's loop.
    fn wake(&mut self, reactor: &mut Reactor, now: u64) {
        while let Some(Reverse((end, id))) = reactor.ends.peek().copied().filter(|e| e.0.0 <= now) {
            reactor.ends.pop();
            let (op, handed_ns) = reactor.open.remove(&id).expect("in flight");
            let when = if self.world.stamped { end } else { now };
            let ok = !self.random.random_bool(self.world.failing);
            reactor.control.ended(op, when, ok);
            self.note(op, handed_ns, Fate::Ended(when));
        }
        let nap = now + POLL_NS;
        let until = loop {
            match reactor.control.next(now) {
                Step::Start(op) => self.send(reactor, op, now),
                Step::Drop(op, why) => self.note(op, now, Fate::Dropped(why)),
                Step::WaitUntil(until) => {
                    assert!(until > now, "a wait that is over");
                    break until.min(nap);
                }
                Step::WaitForEnd => break nap,
                Step::Done => return self.leave(reactor, now),
            }
        };
        let next_end = reactor.ends.peek().map(|Reverse((end, _))| *end);
        let wanted = next_end.map_or(until, |end| end.min(until));
        let late = self.random.random_range(0..=self.world.late_ns);
        reactor.wake_ns = Some(wanted + late);
    }

    fn send(&mut self, reactor: &mut Reactor, op: Op, now: u64) {
        let Reverse(free) = self.server.pop().expect("the server has slots");
        let (least, most) = self.world.service_ns;
        let end = free.max(now) + self.random.random_range(least..=most);
        self.server.push(Reverse(end));
        reactor.ends.push(Reverse((end, op.id)));
        let before = reactor.open.insert(op.id, (op, now));
        assert!(before.is_none(), "operation {} handed out twice", op.id);
    }

    fn leave(&mut self, reactor: &mut Reactor, now: u64) {
        assert_eq!(reactor.control.next(now), Step::Done, "done stays done");
        for (op, handed_ns) in std::mem::take(&mut reactor.open).into_values() {
            reactor.control.ended(op, now, false);
            self.note(op, handed_ns, Fate::Cancelled);
        }
        reactor.done = true;
        reactor.wake_ns = None;
        self.trial.over_ns = now;
    }

    fn note(&mut self, op: Op, handed_ns: u64, fate: Fate) {
        let phase = self.trial.shared.phase_of(op);
        self.trial.rows.push(Row { op, handed_ns, fate, phase });
    }
}
