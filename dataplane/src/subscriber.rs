//! Receives policies from control and answers with ACK or NACK.
