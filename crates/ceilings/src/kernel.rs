//! The two loops that are timed, each over one thread's own part.

/// Places that the sum reads at the same time: the halves of three arrays.
const STREAMS: usize = 6;

/// Independent sums of each stream, so that no addition waits for the one before it.
const SUMS: usize = 2;

/// STREAM's triad: `a[i] = b[i] + scalar · c[i]`.
#[inline(never)]
pub(crate) fn triad(a: &mut [f64], b: &[f64], c: &[f64], scalar: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + scalar * c;
    }
}

/// The sum of all numbers of three arrays of one length: memory is only read. One stream alone does
/// not keep the prefetchers busy (a tenth less here than with two or more).
#[inline(never)]
pub(crate) fn sum(arrays: [&[f64]; 3]) -> f64 {
    let halves = arrays.map(|array| array.split_at(array.len() / 2));
    let streams: [&[f64]; STREAMS] = std::array::from_fn(|stream| {
        let (first, second) = halves[stream / 2];
        if stream % 2 == 0 { first } else { second }
    });
    let blocks = streams.map(|stream| stream.as_chunks::<SUMS>().0);
    let together = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let blocks = blocks.map(|blocks| &blocks[..together]);
    let mut sums = [[0.0; SUMS]; STREAMS];
    for index in 0..together {
        for (sums, blocks) in sums.iter_mut().zip(blocks) {
            for (sum, number) in sums.iter_mut().zip(&blocks[index]) {
                *sum += number;
            }
        }
    }
    let rests = streams.iter().flat_map(|stream| &stream[together * SUMS..]);
    sums.iter().flatten().sum::<f64>() + rests.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triad_is_b_plus_scaled_c() {
        let (b, c) = ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]);
        let mut a = [0.0; 3];
        triad(&mut a, &b, &c, 0.5);
        assert_eq!(a, [6.0, 12.0, 18.0]);
    }

    #[test]
    fn the_sum_counts_what_is_left_over() {
        for length in [0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 101] {
            let array = |value| vec![value; length];
            let all = [&array(1.0)[..], &array(2.0), &array(4.0)];
            assert_eq!(sum(all), 7.0 * length as f64);
        }
    }
}
