//! Pictures beside each other, to be compared by eye.

use super::Picture;

/// White columns between two pictures of a panel.
const GAP: usize = 8;

/// One picture `[1, 3, H, n W + gaps]` of the first samples of `n` pictures of one size, from left to right.
///
/// # Panics
/// When there is no picture, or they differ in size.
pub(crate) fn side_by_side(pictures: &[&Picture]) -> Picture {
    let (height, width) = (pictures[0].height, pictures[0].width);
    assert!(pictures.iter().all(|p| (p.height, p.width) == (height, width)), "pictures of a panel differ in size");
    let panel_width = pictures.len() * (width + GAP) - GAP;
    let mut data = vec![1.0; 3 * height * panel_width];
    for (row, line) in data.chunks_exact_mut(panel_width).enumerate() {
        for (picture, place) in pictures.iter().zip(line.chunks_mut(width + GAP)) {
            place[..width].copy_from_slice(&picture.data[row * width..][..width]);
        }
    }
    Picture { data, batch: 1, height, width: panel_width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_from_left_to_right() {
        let [a, b] = [-0.5, 0.25].map(|v| {
            let data = (0..3 * 2 * 3).map(|i| v + i as f32 / 100.0).collect();
            Picture { data, batch: 1, height: 2, width: 3 }
        });
        let panel = side_by_side(&[&a, &b]);
        assert_eq!((panel.height, panel.width), (2, 3 + GAP + 3));
        // The second row of the second channel: row 3 of 6.
        let row = &panel.data[3 * panel.width..4 * panel.width];
        assert_eq!(row[..3], a.data[9..12]);
        assert_eq!(row[3..3 + GAP], [1.0; GAP]);
        assert_eq!(row[3 + GAP..], b.data[9..12]);
    }
}
