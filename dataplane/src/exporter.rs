//! Carries flow records from the workers' rings into the shared-memory ring.
