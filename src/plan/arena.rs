//! Packing of live ranges into one arena: rectangles of fixed time span, to be given heights of least maximum.
//! Greedy best fit in several orders, then a short deterministic search over perturbed orders.

use std::ops::Range;

/// A tensor to place.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub tensor: usize,
    /// Aligned.
    pub bytes: usize,
    pub live: Range<usize>,
}

impl Item {
    fn duration(&self) -> usize {
        self.live.len()
    }

    fn meets(&self, other: &Self) -> bool {
        self.live.start < other.live.end && other.live.start < self.live.end
    }
}

pub(super) struct Packed {
    /// Of each item.
    pub offsets: Vec<usize>,
    /// Arena size.
    pub bytes: usize,
}

/// Items with the larger key are placed first.
type SortKey = fn(&Item) -> (usize, usize);

/// Orders tried beyond the fixed ones, unless the lower bound is reached before.
const ROUNDS: usize = 200;

/// Places every item; no two that live at the same time share bytes.
pub(super) fn pack(items: &[Item]) -> Packed {
    let bound = lower_bound(items);
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut best: Option<(Packed, Vec<usize>)> = None;
    let attempt = |order: &[usize], best: &mut Option<(Packed, Vec<usize>)>| {
        let packed = place(items, order);
        if best.as_ref().is_none_or(|(b, _)| packed.bytes < b.bytes) {
            *best = Some((packed, order.to_vec()));
        }
    };
    let keys: [SortKey; 4] = [
        |i| (i.bytes, i.duration()),
        |i| (i.duration(), i.bytes),
        |i| (i.bytes.saturating_mul(i.duration()), i.bytes),
        |i| (usize::MAX - i.live.start, i.bytes),
    ];
    for key in keys {
        order.sort_by_key(|i| (std::cmp::Reverse(key(&items[*i])), *i));
        attempt(&order, &mut best);
    }
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n.max(1) as u64) as usize
    };
    for _ in 0..ROUNDS {
        let Some((packed, found)) = &best else { break };
        if packed.bytes <= bound || items.len() < 2 {
            break;
        }
        let mut order = found.clone();
        for _ in 0..1 + next(3) {
            // Placed earlier, a tensor gets a lower address.
            let (from, to) = (next(order.len()), next(order.len()));
            let moved = order.remove(from);
            order.insert(to, moved);
        }
        attempt(&order, &mut best);
    }
    best.map_or(Packed { offsets: Vec::new(), bytes: 0 }, |(packed, _)| packed)
}

fn lower_bound(items: &[Item]) -> usize {
    let sum_at = |t: usize| items.iter().filter(|i| i.live.contains(&t)).map(|i| i.bytes).sum();
    items.iter().map(|i| sum_at(i.live.start)).max().unwrap_or(0)
}

/// Gives each item in turn the lowest address of the tightest gap among those placed that it meets.
fn place(items: &[Item], order: &[usize]) -> Packed {
    let mut offsets = vec![0; items.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(items.len());
    let mut bytes = 0;
    let mut taken = Vec::new();
    for &index in order {
        let item = &items[index];
        taken.clear();
        taken.extend(
            placed.iter().filter(|p| items[**p].meets(item)).map(|p| (offsets[*p], offsets[*p] + items[*p].bytes)),
        );
        taken.sort_unstable();
        let offset = best_gap(&taken, item.bytes);
        offsets[index] = offset;
        bytes = bytes.max(offset + item.bytes);
        placed.push(index);
    }
    Packed { offsets, bytes }
}

/// Start of the smallest gap of at least `bytes` between `taken` ranges (sorted), or the end of the last.
fn best_gap(taken: &[(usize, usize)], bytes: usize) -> usize {
    let (mut end, mut best) = (0, None);
    for &(start, stop) in taken {
        if start > end {
            let gap = start - end;
            if gap >= bytes && best.is_none_or(|(size, _)| gap < size) {
                best = Some((gap, end));
            }
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, start)| start)
}
