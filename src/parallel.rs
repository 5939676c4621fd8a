//! Loops over rayon's threads, each compiled once: the body is called through a pointer, once for a task of many values.
//! Rayon's own iterators are compiled again for every closure, a quarter of a second each.

use rayon::prelude::*;

/// Calls `task` with every number below `count`, from many threads.
pub(crate) fn tasks(count: usize, task: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(task);
}

/// Calls `f` with the number and the values of every piece of `len` values, from many threads; the last piece may be
/// shorter.
pub(crate) fn pieces<T: Send>(values: &mut [T], len: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    values.par_chunks_mut(len).enumerate().for_each(|(n, piece)| f(n, piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_seen_once_with_its_number() {
        let mut values = [0; 10];
        pieces(&mut values, 4, &|n, piece| piece.iter_mut().for_each(|v| *v += n + 1));
        assert_eq!(values, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        pieces::<u8>(&mut [], 4, &|_, _| unreachable!());
    }
}
