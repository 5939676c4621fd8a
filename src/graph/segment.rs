//! Joint rows, cut into the streams that they belong to.

use std::ops::Range;

use super::op::{Stream, Tokens};

/// Rows of one sample's text or image part that fall into a range of joint rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which stream.
    pub stream: Stream,
    /// Whose.
    pub sample: usize,
    /// First row in the joint row space.
    pub joint: usize,
    /// Rows in the stream's own tensor `[B * (T or L), ..]`.
    pub rows: Range<usize>,
}

impl Tokens {
    /// A sample's rows of `stream`: the first one among its joint rows, and how many there are.
    pub const fn part(self, stream: Stream) -> (usize, usize) {
        match stream {
            Stream::Text => (0, self.text),
            Stream::Image => (self.text, self.image()),
        }
    }

    /// The segments of joint rows `range`, in order.
    pub fn segments(self, range: &Range<usize>) -> Vec<Segment> {
        let mut found = Vec::new();
        for sample in 0..self.batch {
            for stream in [Stream::Text, Stream::Image] {
                let (offset, count) = self.part(stream);
                let start = sample * self.joint() + offset;
                let (from, to) = (range.start.max(start), range.end.min(start + count));
                if from < to {
                    let first = sample * count + from - start;
                    found.push(Segment { stream, sample, joint: from, rows: first..first + to - from });
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_a_range_of_joint_rows_in_order() {
        let tokens = Tokens { batch: 2, text: 3, grid_rows: 2, grid_cols: 2 };
        let all = tokens.segments(&(0..14));
        let parts: Vec<_> = all.iter().map(|s| (s.stream, s.sample, s.joint, s.rows.clone())).collect();
        let (text, image) = (Stream::Text, Stream::Image);
        let expected = [(text, 0, 0, 0..3), (image, 0, 3, 0..4), (text, 1, 7, 3..6), (image, 1, 10, 4..8)];
        assert_eq!(parts, expected);
        let cut = tokens.segments(&(5..8));
        assert_eq!(cut[0], Segment { stream: image, sample: 0, joint: 5, rows: 2..4 });
        assert_eq!(cut[1], Segment { stream: text, sample: 1, joint: 7, rows: 3..4 });
    }
}
