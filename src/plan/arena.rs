//! Packing of live ranges into one arena: rectangles of fixed time span, to be given heights of least maximum.
//! Greedy fit in several orders, then a deterministic search from each.

use std::cmp::Reverse;
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

#[derive(Clone)]
pub(super) struct Packed {
    /// Of each item.
    pub offsets: Vec<usize>,
    /// Arena size.
    pub bytes: usize,
}

/// Rounds of the search from every start.
const ROUNDS: usize = 640;

/// The search ends where the arena is within this part of the largest live sum: what is left to gain is not worth the time.
const GOOD_ENOUGH: usize = 64;

/// Places every item; no two that live at the same time share bytes.
///
/// The order of placement decides everything. What reaches above the largest live sum is to blame, and is placed earlier the
/// next time (D. E. Joslin and D. P. Clements, "Squeaky wheel optimization", 1999). An order is no worse than another when what
/// all items together reach above that sum is no more: blocks of a network are mended one by one.
pub(super) fn pack(items: &[Item], live_sums: &[usize]) -> Packed {
    let problem = Problem::new(items, live_sums);
    let good_enough = problem.bound + problem.bound / GOOD_ENOUGH;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut least = Packed { offsets: Vec::new(), bytes: usize::MAX };
    for mut attempt in problem.starts() {
        for _ in 0..ROUNDS {
            if attempt.best.bytes <= good_enough {
                return attempt.best;
            }
            attempt.improve(&problem, &mut random);
        }
        if attempt.best.bytes < least.bytes {
            least = attempt.best;
        }
    }
    least
}

/// An order of placement that is being improved.
struct Attempt {
    order: Vec<usize>,
    fit: Fit,
    packed: Packed,
    /// Bytes by which the items end above the largest live sum, all together.
    excess: usize,
    best: Packed,
}

impl Attempt {
    fn improve(&mut self, problem: &Problem, random: &mut Random) {
        let mut order = self.order.clone();
        let top = |i: &usize| self.packed.offsets[*i] + problem.items[*i].bytes;
        let over: Vec<usize> = self.order.iter().copied().filter(|i| top(i) > problem.bound).collect();
        if random.below(4) == 0 || over.is_empty() {
            let moved = order.remove(random.below(order.len()));
            order.insert(random.below(order.len() + 1), moved);
        } else {
            for _ in 0..1 + random.below(3) {
                let to_blame = over[random.below(over.len())];
                let from = order.iter().position(|i| *i == to_blame).unwrap_or(0);
                order.remove(from);
                order.insert(random.below(from + 1), to_blame);
            }
        }
        let packed = problem.place(&order, self.fit);
        let excess = problem.excess(&packed);
        if packed.bytes < self.best.bytes {
            self.best = packed.clone();
        }
        if excess <= self.excess {
            (self.order, self.packed, self.excess) = (order, packed, excess);
        }
    }
}

/// Xorshift of 64 bits: the same numbers every time.
struct Random(u64);

impl Random {
    /// Below `n`, which is at least 1.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Which gap an item goes into.
#[derive(Clone, Copy)]
enum Fit {
    Tightest,
    Lowest,
}

struct Problem<'a> {
    items: &'a [Item],
    /// The items that each one meets.
    met: Vec<Vec<usize>>,
    /// Live bytes at each launch.
    live_sums: &'a [usize],
    /// The largest of them: no arena is smaller.
    bound: usize,
}

impl<'a> Problem<'a> {
    fn new(items: &'a [Item], live_sums: &'a [usize]) -> Self {
        let met_by = |item: &Item| (0..items.len()).filter(|other| items[*other].meets(item)).collect();
        let bound = live_sums.iter().copied().max().unwrap_or(0);
        Self { items, met: items.iter().map(met_by).collect(), live_sums, bound }
    }

    /// Orders to start from, the larger key first. Where the live sum is near its maximum there is no room for gaps.
    fn starts(&self) -> Vec<Attempt> {
        let live = |i: &Item| self.live_sums[i.live.clone()].iter().copied();
        let most = |i: &Item| live(i).max().unwrap_or(0);
        // In parts of the bound, so that the second key matters.
        let heat = |i: &Item, parts: usize| most(i) * parts / self.bound.max(1);
        let area = |i: &Item| i.bytes.saturating_mul(i.duration());
        type Key<'a> = &'a dyn Fn(&Item) -> (usize, usize, usize);
        let keys: [Key<'_>; 7] = [
            &|i| (live(i).sum(), i.bytes, 0),
            &|i| (heat(i, 5), i.duration(), i.bytes),
            &|i| (heat(i, 20), i.duration(), i.bytes),
            &|i| (heat(i, 5), area(i), i.bytes),
            &|i| (i.duration(), most(i), i.bytes),
            &|i| (area(i), i.bytes, 0),
            &|i| (i.bytes, i.duration(), 0),
        ];
        let mut found = Vec::new();
        for key in keys {
            let mut order: Vec<usize> = (0..self.items.len()).collect();
            order.sort_by_key(|i| (Reverse(key(&self.items[*i])), *i));
            for fit in [Fit::Tightest, Fit::Lowest] {
                let packed = self.place(&order, fit);
                let excess = self.excess(&packed);
                found.push(Attempt { order: order.clone(), fit, best: packed.clone(), packed, excess });
            }
        }
        found
    }

    fn excess(&self, packed: &Packed) -> usize {
        let tops = packed.offsets.iter().zip(self.items).map(|(offset, item)| offset + item.bytes);
        tops.map(|top| top.saturating_sub(self.bound)).sum()
    }

    /// Gives each item in turn the lowest address of a gap among those placed that it meets.
    fn place(&self, order: &[usize], fit: Fit) -> Packed {
        let mut offsets: Vec<Option<usize>> = vec![None; self.items.len()];
        let mut bytes = 0;
        let mut taken = Vec::new();
        for &index in order {
            let item = &self.items[index];
            taken.clear();
            let range = |other: &usize| offsets[*other].map(|offset| (offset, offset + self.items[*other].bytes));
            taken.extend(self.met[index].iter().filter_map(range));
            taken.sort_unstable();
            let offset = gap(&taken, item.bytes, fit);
            offsets[index] = Some(offset);
            bytes = bytes.max(offset + item.bytes);
        }
        Packed { offsets: offsets.into_iter().map(Option::unwrap_or_default).collect(), bytes }
    }
}

/// Start of a gap of at least `bytes` between `taken` ranges (sorted), or the end of the last.
fn gap(taken: &[(usize, usize)], bytes: usize, fit: Fit) -> usize {
    let (mut end, mut best) = (0, None);
    for &(start, stop) in taken {
        if start > end {
            let gap = start - end;
            if gap >= bytes && best.is_none_or(|(size, _)| gap < size) {
                best = Some((gap, end));
                if matches!(fit, Fit::Lowest) {
                    break;
                }
            }
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, start)| start)
}
