//! Stage 2: whether sender and receiver of a packet are who they say.
