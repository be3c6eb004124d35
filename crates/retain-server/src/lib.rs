//! Answers gRPC: convert, call, convert back.
