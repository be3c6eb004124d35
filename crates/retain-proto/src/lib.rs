//! Code generated from `proto/`, nothing else: messages, the client and the server of each service.
//!
//! The comments in `proto/` are the documentation of the API.

/// Package `retain.v1`.
// Generated code is held to its generator's style; the proto files carry the comments.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("retain.v1");
}

/// Package `inference`: the Open Inference Protocol.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// All files of the API with their imports and comments, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("retain_descriptor");
