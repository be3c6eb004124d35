//! Tensors of the Open Inference Protocol: from their elements, typed or raw, to columns of features, and back.

use retain_proto::inference::model_infer_request::InferInputTensor;
use retain_proto::inference::{InferTensorContents, ModelInferRequest};
use retain_proto::v1;
use retain_proto::v1::feature_column::Values;

use crate::config::Config;
use crate::convert::Place;
use crate::models::LiveModel;
use crate::status::{CallError, Violation, check_count};

/// The inputs of a request as columns.
pub(crate) struct Inputs {
    pub(crate) n_rows: usize,
    pub(crate) columns: Vec<v1::FeatureColumn>,
    /// Where a column stands in the request.
    pub(crate) place: Place,
}

/// The elements of a tensor.
enum Elements {
    Numbers(Vec<f64>),
    Booleans(Vec<bool>),
    Texts(Vec<String>),
}

/// An element type of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Datatype {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Fp32,
    Fp64,
    Bytes,
}

impl Inputs {
    /// Reads the tensors of a request for a model.
    ///
    /// # Errors
    /// [`CallError::Invalid`] names the first tensor that does not hold together.
    pub(crate) fn read(request: ModelInferRequest, model: &LiveModel, config: &Config) -> Result<Self, CallError> {
        let (raw, n_inputs) = (request.raw_input_contents, request.inputs.len());
        if !raw.is_empty() && raw.len() != n_inputs {
            let description = format!("should have one entry for each of the {n_inputs} inputs, found {}", raw.len());
            return Err(Violation::new("raw_input_contents", "TENSOR_COUNT", &description).into());
        }
        if n_inputs == 0 {
            return Err(Violation::new("inputs", "REQUIRED", "should have at least one tensor").into());
        }
        let names: Vec<&str> = model.scorer.schema().features.iter().map(|feature| feature.name.as_str()).collect();
        let is_matrix = matches!(&request.inputs[..], [only] if only.shape.len() == 2 && !names.contains(&only.name.as_str()));
        let mut raw = raw.into_iter();
        let mut inputs = Self { n_rows: 0, columns: Vec::new(), place: Place::Inputs };
        for (position, tensor) in request.inputs.into_iter().enumerate() {
            let (n_rows, n_columns) = extent(position, &tensor.shape, if is_matrix { names.len() } else { 1 })?;
            if position == 0 {
                check_count("inputs[0].shape", n_rows, config.max_batch_rows)?;
                inputs.n_rows = n_rows;
            } else if n_rows != inputs.n_rows {
                let description = format!("has {n_rows} rows, and the first tensor has {}", inputs.n_rows);
                return Err(Violation::new(field(position, "shape"), "TENSOR_SHAPE", &description).into());
            }
            let (name, elements) = (tensor.name.clone(), elements(position, tensor, raw.next(), n_rows * n_columns)?);
            if is_matrix {
                inputs.place = Place::Matrix { n_columns };
                inputs.columns = elements.split(&names);
            } else {
                inputs.columns.push(column(name, elements));
            }
        }
        Ok(inputs)
    }
}

fn field(position: usize, of: &str) -> String {
    format!("inputs[{position}].{of}")
}

/// Rows and columns of a tensor whose shape should be `[rows]` or `[rows, n_columns]`.
fn extent(position: usize, shape: &[i64], n_columns: usize) -> Result<(usize, usize), CallError> {
    let rows = match shape {
        [rows] if n_columns == 1 => Some(*rows),
        [rows, columns] if usize::try_from(*columns) == Ok(n_columns) => Some(*rows),
        _ => None,
    };
    let n_rows = rows.and_then(|rows| usize::try_from(rows).ok());
    n_rows.map(|n_rows| (n_rows, n_columns)).ok_or_else(|| {
        let expected = if n_columns == 1 { "[rows] or [rows, 1]".to_owned() } else { format!("[rows, {n_columns}]") };
        Violation::new(field(position, "shape"), "TENSOR_SHAPE", &format!("should be {expected}, found {shape:?}")).into()
    })
}

fn elements(position: usize, tensor: InferInputTensor, raw: Option<Vec<u8>>, n_elements: usize) -> Result<Elements, CallError> {
    let wrong =
        |of: &str, reason, description: String| CallError::from(Violation::new(field(position, of), reason, &description));
    let Some(datatype) = Datatype::of(&tensor.datatype) else {
        let expected = "should be BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64 or BYTES";
        return Err(wrong("datatype", "UNKNOWN_DATATYPE", format!("{expected}, found `{}`", tensor.datatype)));
    };
    let found = match (raw, tensor.contents) {
        (Some(_), Some(_)) => {
            return Err(wrong("contents", "TENSOR_CONTENTS", "stands beside raw_input_contents: one of them should".to_owned()));
        }
        (Some(bytes), None) => datatype.read_raw(&bytes),
        (None, contents) => datatype.read(contents.unwrap_or_default()),
    };
    let elements = found.map_err(|what| wrong("contents", "TENSOR_CONTENTS", what.to_owned()))?;
    if elements.len() != n_elements {
        let description = format!("should have {n_elements} elements of {}, found {}", tensor.datatype, elements.len());
        return Err(wrong("contents", "TENSOR_CONTENTS", description));
    }
    Ok(elements)
}

/// A column of these elements, in which NaN is missing.
fn column(name: String, elements: Elements) -> v1::FeatureColumn {
    let mut missing = Vec::new();
    let values = match elements {
        Elements::Numbers(values) => {
            missing.extend(values.iter().zip(0..).filter(|(value, _)| value.is_nan()).map(|(_, row): (_, u32)| row));
            Values::Numbers(v1::NumberColumn { values })
        }
        Elements::Booleans(values) => Values::Booleans(v1::BooleanColumn { values }),
        Elements::Texts(values) => Values::Texts(v1::TextColumn { values }),
    };
    v1::FeatureColumn { name, values: Some(values), missing }
}

impl Elements {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Booleans(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// The columns of a tensor that has them row after row.
    fn split(self, names: &[&str]) -> Vec<v1::FeatureColumn> {
        let n_columns = names.len();
        let every = |position: usize| {
            let places = (position..self.len()).step_by(n_columns);
            match &self {
                Self::Numbers(values) => Self::Numbers(places.map(|place| values[place]).collect()),
                Self::Booleans(values) => Self::Booleans(places.map(|place| values[place]).collect()),
                Self::Texts(values) => Self::Texts(places.map(|place| values[place].clone()).collect()),
            }
        };
        names.iter().enumerate().map(|(position, name)| column((*name).to_owned(), every(position))).collect()
    }
}

impl Datatype {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "BOOL" => Self::Bool,
            "INT8" => Self::Int8,
            "INT16" => Self::Int16,
            "INT32" => Self::Int32,
            "INT64" => Self::Int64,
            "UINT8" => Self::Uint8,
            "UINT16" => Self::Uint16,
            "UINT32" => Self::Uint32,
            "UINT64" => Self::Uint64,
            "FP32" => Self::Fp32,
            "FP64" => Self::Fp64,
            "BYTES" => Self::Bytes,
            _ => return None,
        })
    }

    fn read(self, contents: InferTensorContents) -> Result<Elements, &'static str> {
        Ok(match self {
            Self::Bool => Elements::Booleans(contents.bool_contents),
            Self::Int8 | Self::Int16 | Self::Int32 => numbers(contents.int_contents.into_iter().map(f64::from)),
            Self::Int64 => numbers(contents.int64_contents.into_iter().map(|value| value as f64)),
            Self::Uint8 | Self::Uint16 | Self::Uint32 => numbers(contents.uint_contents.into_iter().map(f64::from)),
            Self::Uint64 => numbers(contents.uint64_contents.into_iter().map(|value| value as f64)),
            Self::Fp32 => numbers(contents.fp32_contents.into_iter().map(f64::from)),
            Self::Fp64 => Elements::Numbers(contents.fp64_contents),
            Self::Bytes => texts(contents.bytes_contents)?,
        })
    }

    fn read_raw(self, bytes: &[u8]) -> Result<Elements, &'static str> {
        match self {
            Self::Bool if bytes.iter().all(|byte| *byte <= 1) => {
                Ok(Elements::Booleans(bytes.iter().map(|byte| *byte == 1).collect()))
            }
            Self::Bool => Err("has a byte that is neither 0 nor 1"),
            Self::Int8 => raw(bytes, |[byte]: [u8; 1]| f64::from(byte as i8)),
            Self::Int16 => raw(bytes, |bytes| f64::from(i16::from_le_bytes(bytes))),
            Self::Int32 => raw(bytes, |bytes| f64::from(i32::from_le_bytes(bytes))),
            Self::Int64 => raw(bytes, |bytes| i64::from_le_bytes(bytes) as f64),
            Self::Uint8 => raw(bytes, |[byte]: [u8; 1]| f64::from(byte)),
            Self::Uint16 => raw(bytes, |bytes| f64::from(u16::from_le_bytes(bytes))),
            Self::Uint32 => raw(bytes, |bytes| f64::from(u32::from_le_bytes(bytes))),
            Self::Uint64 => raw(bytes, |bytes| u64::from_le_bytes(bytes) as f64),
            Self::Fp32 => raw(bytes, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Self::Fp64 => raw(bytes, f64::from_le_bytes),
            Self::Bytes => texts(behind_lengths(bytes)?),
        }
    }
}

fn numbers(values: impl Iterator<Item = f64>) -> Elements {
    Elements::Numbers(values.collect())
}

fn raw<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Result<Elements, &'static str> {
    let (elements, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(numbers(elements.iter().map(|&element| number(element)))) } else { Err("ends within an element") }
}

/// Texts that stand each behind its length in four bytes.
fn behind_lengths(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or("ends within a length")?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("ends within a text")?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    Ok(texts)
}

fn texts(bytes: Vec<Vec<u8>>) -> Result<Elements, &'static str> {
    let texts = bytes.into_iter().map(String::from_utf8).collect::<Result<_, _>>();
    texts.map(Elements::Texts).map_err(|_| "has a text that is not UTF-8")
}
