//! Products of small matrices that lie in slices, added to what is there.
//!
//! **The problem.** A step of the recurrence is a few products of some 64 by 64 by 192 numbers. As tensors each of them costs
//! copies into and out of a tensor, memory that the system has to clear, and a packing of weights that are the same in every
//! step; together that takes longer than the multiplications.
//!
//! **What is done.** The right factor is cut into panels of 16 columns and the left one into strips of 6 rows, each stored in the
//! order in which they are read, filled up with zeros at the edges. A panel and a strip give a tile of 6 by 16 sums, which the
//! compiler keeps in twelve of AVX2's sixteen registers; two units with four cycles an addition need eight chains to be
//! busy. Weights become panels once for all steps. The loops of a tile are plain so that the compiler unrolls them, which it
//! does from `opt-level` 3 on; below, they take ten times as long.
//!
//! Each sum runs over the depth in order, whatever else is computed beside it: equal factors give equal bits.

/// Columns of a panel: two registers of AVX2.
const COLUMNS: usize = 16;
/// Rows of a strip.
const ROWS: usize = 6;

/// A right factor. [depth, columns]
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    /// Panel after panel, each from row to row.
    values: Vec<[f32; COLUMNS]>,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Returns the panels of a matrix that lies row by row.
    pub fn of(matrix: &[f32], columns: usize) -> Self {
        let mut panels = Self::default();
        panels.fill(matrix, columns);
        panels
    }

    /// Puts another matrix in, which lies row by row.
    pub fn fill(&mut self, matrix: &[f32], columns: usize) {
        self.values.clear();
        (self.depth, self.columns) = (matrix.len() / columns, columns);
        for first in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - first);
            self.values.extend(matrix.chunks_exact(columns).map(|row| {
                let mut part = [0.0; COLUMNS];
                part[..width].copy_from_slice(&row[first..first + width]);
                part
            }));
        }
    }
}

/// A left factor. [rows, depth]
#[derive(Clone, Debug, Default)]
pub(crate) struct Strips {
    /// Strip after strip, each from column to column.
    values: Vec<[f32; ROWS]>,
    depth: usize,
    rows: usize,
}

impl Strips {
    /// Puts a matrix in, which lies row by row. [rows, depth]
    pub fn fill(&mut self, matrix: &[f32], depth: usize) {
        self.values.clear();
        (self.depth, self.rows) = (depth, matrix.len() / depth);
        for rows in matrix.chunks(ROWS * depth) {
            let begin = self.values.len();
            self.values.resize(begin + depth, [0.0; ROWS]);
            for (place, row) in rows.chunks_exact(depth).enumerate() {
                for (strip, value) in self.values[begin..].iter_mut().zip(row) {
                    strip[place] = *value;
                }
            }
        }
    }

    /// Puts in the transpose of a matrix that lies row by row. [depth, rows]
    pub fn fill_transposed(&mut self, matrix: &[f32], rows: usize) {
        self.values.clear();
        (self.depth, self.rows) = (matrix.len() / rows, rows);
        for first in (0..rows).step_by(ROWS) {
            let width = ROWS.min(rows - first);
            self.values.extend(matrix.chunks_exact(rows).map(|row| {
                let mut part = [0.0; ROWS];
                part[..width].copy_from_slice(&row[first..first + width]);
                part
            }));
        }
    }
}

/// Adds the product of two matrices to a third. [rows, depth], [depth, columns] -> [rows, columns]
pub(crate) fn add_product(out: &mut [f32], left: &Strips, right: &Panels) {
    let (depth, columns) = (left.depth, right.columns);
    debug_assert_eq!((depth, out.len()), (right.depth, left.rows * columns));
    if depth == 0 || columns == 0 {
        return;
    }
    for (first, panel) in (0..columns).step_by(COLUMNS).zip(right.values.chunks_exact(depth)) {
        let width = COLUMNS.min(columns - first);
        for (rows, strip) in out.chunks_mut(ROWS * columns).zip(left.values.chunks_exact(depth)) {
            let sums = tile(strip, panel);
            for (row, sums) in rows.chunks_exact_mut(columns).zip(sums) {
                for (value, sum) in row[first..first + width].iter_mut().zip(sums) {
                    *value += sum;
                }
            }
        }
    }
}

/// Returns the product of a strip and a panel.
fn tile(strip: &[[f32; ROWS]], panel: &[[f32; COLUMNS]]) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (left, right) in strip.iter().zip(panel) {
        for row in 0..ROWS {
            add_scaled(&mut sums[row], left[row], right);
        }
    }
    sums
}

#[inline(always)]
fn add_scaled(sums: &mut [f32; COLUMNS], scale: f32, values: &[f32; COLUMNS]) {
    for column in 0..COLUMNS {
        sums[column] = multiply_add(scale, values[column], sums[column]);
    }
}

/// Returns `a * b + c`, in one instruction where the processor has it; elsewhere `mul_add` is a call into the C library.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers: every order of additions gives the same bits.
    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 37 + seed * 11) % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn products_of_every_size_are_those_of_three_loops() {
        for (rows, depth, columns) in
            [(1, 1, 1), (3, 5, 7), (4, 8, 16), (5, 9, 17), (12, 33, 50), (64, 64, 192)]
        {
            let (left, right) = (values(rows * depth, 1), values(depth * columns, 2));
            let mut expected = values(rows * columns, 3);
            let mut transposed = vec![0.0; rows * depth];
            for row in 0..rows {
                for at in 0..depth {
                    transposed[at * rows + row] = left[row * depth + at];
                    for column in 0..columns {
                        expected[row * columns + column] +=
                            left[row * depth + at] * right[at * columns + column];
                    }
                }
            }
            let panels = Panels::of(&right, columns);
            let mut strips = Strips::default();
            strips.fill(&left, depth);
            let mut out = values(rows * columns, 3);
            add_product(&mut out, &strips, &panels);
            assert_eq!(out, expected, "{rows} {depth} {columns}");
            strips.fill_transposed(&transposed, rows);
            let mut out = values(rows * columns, 3);
            add_product(&mut out, &strips, &panels);
            assert_eq!(out, expected, "{rows} {depth} {columns}, transposed");
        }
    }

    #[test]
    fn a_product_of_nothing_adds_nothing() {
        let mut strips = Strips::default();
        strips.fill(&[], 4);
        add_product(&mut [], &strips, &Panels::of(&values(8, 1), 2));
    }
}
