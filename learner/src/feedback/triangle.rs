//! The Cholesky factor of a symmetric matrix `1 + S`, `S` without negative eigenvalues, and what is solved with it.
//!
//! No eigenvalue is below one, so single precision does: the relative error stays near 1e-7 times the largest, which a sum of
//! kernels over some hundred answers keeps below a thousand. Blocks of `BLOCK` columns leave nearly all of the work to
//! matrix products.

use crate::matrix_product::{Panels, Strips, add_product};

/// Columns that are worked on at once: eight strips of the product, and a triangle of 9 KiB.
const BLOCK: usize = 48;

/// A lower triangle `L` with `L L' = 1 + S`.
#[derive(Clone, Debug, Default)]
pub struct Triangle {
    /// Row by row; nothing above the diagonal is read. [size, size]
    values: Vec<f32>,
    size: usize,
}

impl Triangle {
    /// Returns the factor of a matrix that lies row by row; only its lower half is read. [size, size]
    pub fn of(mut values: Vec<f32>, size: usize) -> Self {
        debug_assert_eq!(values.len(), size * size);
        let mut below = Below::default();
        for first in (0..size).step_by(BLOCK) {
            let end = size.min(first + BLOCK);
            factor_block(&mut values, size, first, end);
            if end < size {
                below.solve(&mut values, size, first, end);
                below.subtract_products(&mut values, size, end);
            }
        }
        Self { values, size }
    }

    /// Solves `L L' x = b` in place. `[size]`
    pub fn solve(&self, b: &mut [f32]) {
        let size = self.size;
        for row in 0..size {
            let (known, rest) = b.split_at_mut(row);
            let line = &self.values[row * size..row * size + row + 1];
            rest[0] = (rest[0] - dot(&line[..row], known)) / line[row];
        }
        for row in (0..size).rev() {
            let (above, rest) = b.split_at_mut(row);
            let line = &self.values[row * size..row * size + row + 1];
            rest[0] /= line[row];
            let known = rest[0];
            for (value, factor) in above.iter_mut().zip(line) {
                *value -= known * factor;
            }
        }
    }

    /// Returns the squared length of `L^-1 b` for each column `b` of a matrix that lies row by row. [size, columns]
    pub fn squared_lengths(&self, mut b: Vec<f32>, columns: usize) -> Vec<f32> {
        let size = self.size;
        debug_assert_eq!(b.len(), size * columns);
        let (mut strips, mut panels, mut factor) = (Strips::default(), Panels::default(), Vec::new());
        for first in (0..size).step_by(BLOCK) {
            let end = size.min(first + BLOCK);
            let (known, rest) = b.split_at_mut(end * columns);
            let solved = &mut known[first * columns..];
            solve_rows(&self.values, size, first, solved, columns);
            if end < size {
                factor.clear();
                for row in end..size {
                    factor
                        .extend(self.values[row * size + first..row * size + end].iter().map(|value| -value));
                }
                strips.fill(&factor, end - first);
                panels.fill(solved, columns);
                add_product(rest, &strips, &panels);
            }
        }
        let mut lengths = vec![0.0; columns];
        for row in b.chunks_exact(columns) {
            lengths.iter_mut().zip(row).for_each(|(length, value)| *length += value * value);
        }
        lengths
    }
}

/// The rows below a block: first solved with it, then their products taken off what is left.
#[derive(Default)]
struct Below {
    /// Column by column. [columns of the block, rows below]
    columns: Vec<f32>,
    part: Vec<f32>,
    product: Vec<f32>,
    strips: Strips,
    panels: Panels,
}

impl Below {
    /// Solves the rows below the block of columns `first..end` with it. Column by column all rows are worked on beside each
    /// other.
    fn solve(&mut self, values: &mut [f32], size: usize, first: usize, end: usize) {
        let rows = size - end;
        self.columns.clear();
        self.columns.resize((end - first) * rows, 0.0);
        for row in end..size {
            for (at, value) in values[row * size + first..row * size + end].iter().enumerate() {
                self.columns[at * rows + row - end] = *value;
            }
        }
        solve_rows(values, size, first, &mut self.columns, rows);
        for row in end..size {
            for (at, value) in values[row * size + first..row * size + end].iter_mut().enumerate() {
                *value = self.columns[at * rows + row - end];
            }
        }
    }

    /// Takes the products of the solved columns off what lies right of them, a block of columns at a time.
    fn subtract_products(&mut self, values: &mut [f32], size: usize, end: usize) {
        let rows = size - end;
        for left in (end..size).step_by(BLOCK) {
            let right = size.min(left + BLOCK);
            let part_of = |part: &mut Vec<f32>, columns: &[f32], until: usize| {
                part.clear();
                for column in columns.chunks_exact(rows) {
                    part.extend_from_slice(&column[left - end..until - end]);
                }
            };
            part_of(&mut self.part, &self.columns, size);
            self.strips.fill_transposed(&self.part, size - left);
            part_of(&mut self.part, &self.columns, right);
            self.panels.fill(&self.part, right - left);
            self.product.clear();
            self.product.resize((size - left) * (right - left), 0.0);
            add_product(&mut self.product, &self.strips, &self.panels);
            for (row, product) in (left..size).zip(self.product.chunks_exact(right - left)) {
                let line = &mut values[row * size + left..row * size + right];
                line.iter_mut().zip(product).for_each(|(value, product)| *value -= product);
            }
        }
    }
}

/// Solves `L x = b` with the triangle whose first row and column is `first`, for each column of a matrix that lies row by row and
/// has as many rows as the triangle.
fn solve_rows(values: &[f32], size: usize, first: usize, b: &mut [f32], columns: usize) {
    for row in 0..b.len() / columns {
        let (before, rest) = b.split_at_mut(row * columns);
        let current = &mut rest[..columns];
        let line = &values[(first + row) * size + first..(first + row) * size + first + row + 1];
        for (before, factor) in before.chunks_exact(columns).zip(line) {
            for (value, before) in current.iter_mut().zip(before) {
                *value -= factor * before;
            }
        }
        let scale = 1.0 / line[row];
        current.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Factors the square of a block, whose products with earlier columns are taken off already.
fn factor_block(values: &mut [f32], size: usize, first: usize, end: usize) {
    for row in first..end {
        for column in first..row + 1 {
            let sum = dot(
                &values[row * size + first..row * size + column],
                &values[column * size + first..column * size + column],
            );
            let rest = values[row * size + column] - sum;
            values[row * size + column] = if row == column {
                // Rounding alone can bring it below one; the floor keeps a broken input from spreading.
                rest.max(0.5).sqrt()
            } else {
                rest / values[column * size + column]
            };
        }
    }
}

/// Returns the product of two vectors, by eight sums so that they are added beside each other.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a_parts, b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::generate::Rng;

    /// Returns `1 + A A'` for a random `A`.
    fn matrix(size: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        let a: Vec<f32> = (0..size * 5).map(|_| rng.below(2_001) as f32 / 1_000.0 - 1.0).collect();
        let entry = |row: usize, column: usize| {
            let sum: f32 = (0..5).map(|at| a[row * 5 + at] * a[column * 5 + at]).sum();
            sum + if row == column { 1.0 } else { 0.0 }
        };
        (0..size * size).map(|at| entry(at / size, at % size)).collect()
    }

    #[test]
    fn what_is_solved_multiplies_back_for_every_size() {
        for size in [1, 2, 7, 47, 48, 49, 100, 145] {
            let values = matrix(size, 3);
            let triangle = Triangle::of(values.clone(), size);
            let b: Vec<f32> = (0..size).map(|at| (at % 7) as f32 - 3.0).collect();
            let mut x = b.clone();
            triangle.solve(&mut x);
            for (row, b) in values.chunks_exact(size).zip(&b) {
                assert!((dot(row, &x) - b).abs() < 1e-3, "size {size}");
            }
            // The squared length of L^-1 b is b' (L L')^-1 b.
            let lengths = triangle.squared_lengths(b.iter().flat_map(|b| [*b, 2.0 * b]).collect(), 2);
            let expected = dot(&b, &x);
            assert!((lengths[0] - expected).abs() < 1e-3 * expected.max(1.0), "size {size}");
            assert!((lengths[1] - 4.0 * expected).abs() < 4e-3 * expected.max(1.0), "size {size}");
        }
    }
}
