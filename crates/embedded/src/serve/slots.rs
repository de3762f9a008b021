//! Continuous batching without the engine: which requests run in which slots, and which tokens
//! the next step computes.

use std::collections::VecDeque;

use crate::llama::Token;

/// A token of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The slot, which is also the engine's sequence.
    pub(super) slot: u32,
    /// The token.
    pub(super) token: Token,
    /// Its position in the sequence, from 0.
    pub(super) position: u32,
    /// Whether the token after it is drawn: the last token of a prompt, and each generated one.
    pub(super) draws: bool,
}

/// A request in a slot.
#[derive(Debug)]
struct Slot<R> {
    request: R,
    prompt: Vec<Token>,
    /// Tokens in the KV cache.
    held: usize,
    /// The last token that was drawn and is not computed yet.
    next: Option<Token>,
    /// Number in the order of admission.
    admitted: u64,
}

/// Requests that run and that wait. `R`: what the caller keeps of each.
#[derive(Debug)]
pub(super) struct Slots<R> {
    places: Vec<Option<Slot<R>>>,
    queue: VecDeque<(R, Vec<Token>)>,
    admitted: u64,
}

impl<R> Slots<R> {
    /// Empty slots.
    pub(super) fn new(count: u32) -> Self {
        let places = (0..count).map(|_| None).collect();
        Self { places, queue: VecDeque::new(), admitted: 0 }
    }

    /// Puts a request with its prompt, which is not empty, at the end of the queue.
    pub(super) fn enqueue(&mut self, request: R, prompt: Vec<Token>) {
        self.queue.push_back((request, prompt));
    }

    /// Requests in slots.
    pub(super) fn running(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Tokens in the KV cache.
    pub(super) fn held(&self) -> usize {
        self.places.iter().flatten().map(|slot| slot.held).sum()
    }

    /// Moves waiting requests into free slots, first come first served; `admitted` sees each.
    pub(super) fn admit(&mut self, mut admitted: impl FnMut(&mut R)) {
        for slot in self.places.iter_mut().filter(|slot| slot.is_none()) {
            let Some((mut request, prompt)) = self.queue.pop_front() else { return };
            admitted(&mut request);
            let number = self.admitted;
            self.admitted += 1;
            *slot = Some(Slot { request, prompt, held: 0, next: None, admitted: number });
        }
    }

    /// The next step of at most `most` tokens: one of each slot that generates, then the prompts
    /// of the others in the order of admission, cut where the step is full.
    pub(super) fn plan(&self, most: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let slots =
            || (0_u32..).zip(&self.places).filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
        for (at, slot) in slots() {
            if let Some(token) = slot.next {
                let position = slot.held as u32;
                entries.push(Entry { slot: at, token, position, draws: true });
            }
        }
        let mut reading: Vec<(u32, &Slot<R>)> =
            slots().filter(|(_, slot)| slot.held < slot.prompt.len()).collect();
        reading.sort_by_key(|(_, slot)| slot.admitted);
        for (at, slot) in reading {
            let room = most.saturating_sub(entries.len());
            let rest = slot.prompt.iter().enumerate().skip(slot.held).take(room);
            entries.extend(rest.map(|(index, token)| Entry {
                slot: at,
                token: *token,
                position: index as u32,
                draws: index + 1 == slot.prompt.len(),
            }));
        }
        entries
    }

    /// Notes that a planned step was computed.
    pub(super) fn computed(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Some(Some(slot)) = self.places.get_mut(entry.slot as usize) {
                slot.held = entry.position as usize + 1;
                slot.next = None;
            }
        }
    }

    /// The request in a slot.
    pub(super) fn request(&mut self, slot: u32) -> Option<&mut R> {
        self.places.get_mut(slot as usize)?.as_mut().map(|slot| &mut slot.request)
    }

    /// Notes the token that was drawn for a slot: the next step computes it.
    pub(super) fn drawn(&mut self, slot: u32, token: Token) {
        if let Some(Some(slot)) = self.places.get_mut(slot as usize) {
            slot.next = Some(token);
        }
    }

    /// Frees a slot.
    pub(super) fn free(&mut self, slot: u32) -> Option<R> {
        self.places.get_mut(slot as usize)?.take().map(|slot| slot.request)
    }

    /// Takes away the requests that `gone` names, with the slots that became free.
    pub(super) fn take(&mut self, mut gone: impl FnMut(&R) -> bool) -> Vec<(Option<u32>, R)> {
        let mut taken = Vec::new();
        for (at, slot) in (0_u32..).zip(&mut self.places) {
            if slot.as_ref().is_some_and(|slot| gone(&slot.request)) {
                taken.extend(slot.take().map(|slot| (Some(at), slot.request)));
            }
        }
        for _ in 0..self.queue.len() {
            match self.queue.pop_front() {
                Some((request, _)) if gone(&request) => taken.push((None, request)),
                Some(waiting) => self.queue.push_back(waiting),
                None => {}
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: u32, token: Token, position: u32, draws: bool) -> Entry {
        Entry { slot, token, position, draws }
    }

    #[test]
    fn prompts_are_cut_and_generation_goes_on_beside_them() {
        let mut slots = Slots::new(2);
        slots.enqueue('a', vec![1, 2]);
        slots.enqueue('b', vec![11, 12, 13, 14]);
        slots.enqueue('c', vec![21]);
        slots.admit(|_| {});
        assert_eq!((slots.running(), slots.waiting()), (2, 1));
        let step = slots.plan(3);
        assert_eq!(step, [entry(0, 1, 0, false), entry(0, 2, 1, true), entry(1, 11, 0, false)]);
        slots.computed(&step);
        slots.drawn(0, 3);
        let step = slots.plan(3);
        assert_eq!(step, [entry(0, 3, 2, true), entry(1, 12, 1, false), entry(1, 13, 2, false)]);
        slots.computed(&step);
        slots.drawn(0, 4);
        assert_eq!(slots.held(), 3 + 3);
        let step = slots.plan(3);
        assert_eq!(step, [entry(0, 4, 3, true), entry(1, 14, 3, true)]);
        slots.computed(&step);
        assert_eq!(slots.free(0), Some('a'));
        slots.drawn(1, 15);
        slots.admit(|_| {});
        assert_eq!(slots.plan(3), [entry(1, 15, 4, true), entry(0, 21, 0, true)]);
    }

    #[test]
    fn prompts_are_read_in_the_order_of_admission() {
        let mut slots = Slots::new(2);
        slots.enqueue('a', vec![1]);
        slots.enqueue('b', vec![11, 12]);
        slots.admit(|_| {});
        slots.computed(&[entry(0, 1, 0, true)]);
        slots.free(0);
        slots.enqueue('c', vec![21, 22]);
        slots.admit(|_| {});
        let step = slots.plan(3);
        assert_eq!(step, [entry(1, 11, 0, false), entry(1, 12, 1, true), entry(0, 21, 0, false)]);
    }

    #[test]
    fn whoever_left_frees_slot_and_place() {
        let mut slots = Slots::new(1);
        for name in ['a', 'b', 'c', 'd'] {
            slots.enqueue(name, vec![1]);
        }
        slots.admit(|_| {});
        let taken = slots.take(|name| matches!(name, 'a' | 'c'));
        assert_eq!(taken, [(Some(0), 'a'), (None, 'c')]);
        let mut order = Vec::new();
        slots.admit(|name| order.push(*name));
        slots.free(0);
        slots.admit(|name| order.push(*name));
        assert_eq!(order, ['b', 'd']);
        assert_eq!(slots.waiting(), 0);
    }
}
