//! A ring of fixed records in sealed shared memory.
