//! The compiled policy that workers judge by, and how it is swapped.
