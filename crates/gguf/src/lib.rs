//! GGUF files: what they say about a model, and models of random weights made on the spot.
//!
//! [`Model::open`] reads what comes before the weights and never trusts a length in it;
//! [`Model::summary`] tells what a user asks of a model: its parameters, its bytes, what one decode
//! step reads. [`Made`] writes a model of architecture "llama" with the sizes of a real one and
//! random weights. Such a model says nonsense at the speed of the real one, since the time of a
//! step depends on the shapes and types of the weights and not on their values.

pub mod error;
pub mod header;
pub mod made;
pub mod model;
pub mod pool;
pub mod preset;
pub mod quantize;
pub mod shape;
mod source;
pub mod summary;
pub mod tensor_type;
pub mod value;
pub mod vocabulary;

pub use error::{FormatError, GgufError, ShapeError};
pub use made::{Made, Weights};
pub use model::{Model, Tensor};
pub use preset::Preset;
pub use shape::Shape;
pub use summary::{PerLayer, Summary};
pub use tensor_type::TensorType;
pub use value::{Array, Value, ValueKind};
