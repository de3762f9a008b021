//! What a user asks of a model: its size, its shape, and how much one decode step reads.

use std::collections::BTreeMap;

use crate::error::clip;
use crate::model::Model;
use crate::tensor_type::TensorType;
use crate::value::{KEPT_ELEMENTS, Value};

/// Tables of which a step reads the rows of its tokens only.
const TABLES: [&str; 4] = [
    "token_embd.weight",
    "per_layer_token_embd.weight",
    "position_embd.weight",
    "token_types.weight",
];
const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

/// A model in figures. What the file does not say is `None`, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its architecture as llama.cpp names it: `llama`; as plain as its name.
    pub architecture: String,
    /// Its name for people: at most 80 characters, none of them a control character.
    pub name: Option<String>,
    /// The weights are random numbers written by [`crate::Made`].
    pub made: bool,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The type that most elements have; none without tensors.
    pub quantization: Option<TensorType>,
    /// Tokens that the model was made for.
    pub context_length: Option<u64>,
    /// Layers.
    pub block_count: Option<u64>,
    /// Width of the residual stream, elements.
    pub embedding_length: Option<u64>,
    /// Width of the feed-forward part, elements.
    pub feed_forward_length: Option<PerLayer>,
    /// Heads that ask.
    pub head_count: Option<PerLayer>,
    /// Heads of keys and values; as many as heads that ask where the file names none.
    pub head_count_kv: Option<PerLayer>,
    /// Elements of a key of one head; embedding length / heads where the file names none.
    pub key_length: Option<u64>,
    /// Elements of a value of one head; embedding length / heads where the file names none.
    pub value_length: Option<u64>,
    /// Tokens in the vocabulary.
    pub vocabulary: Option<u64>,
    /// Experts of a layer: `None` or 0 for a dense model.
    pub expert_count: Option<u64>,
    /// The output matrix is the embedding: there is no `output.weight`.
    pub tied: bool,
    /// Bytes of weights that one decode step reads: all tensors but the tables of which it reads
    /// single rows. The embedding counts where it is also the output matrix. None for a model with
    /// experts, of which a step reads some, and for one with layers of extra predictions.
    pub step_bytes: Option<u64>,
    /// Elements of keys and values that one token of context adds: the sum over layers of
    /// heads of keys and values * (key length + value length). None where the cache holds something
    /// else (latent attention) or layers share it.
    pub kv_elements_per_token: Option<u64>,
}

/// A number that is the same for all layers, or one number a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerLayer {
    /// All layers have it.
    Same(u64),
    /// One for each layer, in order.
    Each(Vec<u64>),
}

impl PerLayer {
    /// The sum over `layers` layers; none if the layers are not as many, or it is beyond a u64.
    pub fn total(&self, layers: u64) -> Option<u64> {
        match self {
            Self::Same(number) => number.checked_mul(layers),
            Self::Each(numbers) if numbers.len() as u64 == layers => {
                numbers.iter().try_fold(0_u64, |sum, number| sum.checked_add(*number))
            }
            Self::Each(_) => None,
        }
    }

    /// The number, where all layers have the same.
    pub fn same(&self) -> Option<u64> {
        match self {
            Self::Same(number) => Some(*number),
            Self::Each(numbers) => {
                let first = *numbers.first()?;
                numbers.iter().all(|number| *number == first).then_some(first)
            }
        }
    }

    /// The number of the first layer.
    fn first(&self) -> Option<u64> {
        match self {
            Self::Same(number) => Some(*number),
            Self::Each(numbers) => numbers.first().copied(),
        }
    }
}

impl Model {
    /// The model in figures.
    pub fn summary(&self) -> Summary {
        let head_count = self.per_layer("attention.head_count");
        let head_count_kv =
            self.per_layer("attention.head_count_kv").or_else(|| head_count.clone());
        let embedding_length = self.count("embedding_length");
        let head_length = match (embedding_length, head_count.as_ref().and_then(PerLayer::first)) {
            (Some(width), Some(heads)) => width.checked_div(heads),
            _ => None,
        };
        let mut summary = Summary {
            architecture: self.text("general.architecture").unwrap_or_default(),
            name: self.text("general.name"),
            made: self.metadata.get(crate::header::MADE_KEY).and_then(Value::as_bool) == Some(true),
            parameters: self.sum(|tensor| tensor.elements),
            weight_bytes: self.sum(|tensor| tensor.bytes),
            file_bytes: self.file_bytes,
            quantization: self.quantization(),
            context_length: self.count("context_length"),
            block_count: self.count("block_count"),
            embedding_length,
            feed_forward_length: self.per_layer("feed_forward_length"),
            head_count,
            head_count_kv,
            key_length: self.count("attention.key_length").or(head_length),
            value_length: self.count("attention.value_length").or(head_length),
            vocabulary: self.vocabulary(),
            expert_count: self.count("expert_count"),
            tied: self.tied(),
            step_bytes: self.step_bytes(),
            kv_elements_per_token: None,
        };
        summary.kv_elements_per_token = self.kv_elements_per_token(&summary);
        summary
    }

    /// The value of `<architecture>.<key>`.
    fn of_architecture(&self, key: &str) -> Option<&Value> {
        let architecture = self.metadata.get("general.architecture")?.as_str()?;
        self.metadata.get(&format!("{architecture}.{key}"))
    }

    fn count(&self, key: &str) -> Option<u64> {
        self.of_architecture(key)?.as_count()
    }

    /// A text that can be printed.
    fn text(&self, key: &str) -> Option<String> {
        let text = self.metadata.get(key)?.as_str()?;
        Some(clip(text).replace(char::is_control, " "))
    }

    fn per_layer(&self, key: &str) -> Option<PerLayer> {
        let value = self.of_architecture(key)?;
        if let Some(number) = value.as_count() {
            return Some(PerLayer::Same(number));
        }
        let array = value.as_array()?;
        if array.values.is_empty() || array.len > KEPT_ELEMENTS {
            return None;
        }
        array.values.iter().map(Value::as_count).collect::<Option<_>>().map(PerLayer::Each)
    }

    /// Sums never overflow: tensors do not overlap inside the file, or have no bytes at all.
    fn sum(&self, of: impl Fn(&crate::model::Tensor) -> u64) -> u64 {
        self.tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(of(tensor)))
    }

    fn quantization(&self) -> Option<TensorType> {
        let mut elements = BTreeMap::<TensorType, u64>::new();
        for tensor in &self.tensors {
            let sum = elements.entry(tensor.kind).or_default();
            *sum = sum.saturating_add(tensor.elements);
        }
        elements.into_iter().max_by_key(|(_, sum)| *sum).map(|(kind, _)| kind)
    }

    fn vocabulary(&self) -> Option<u64> {
        let tokens = self.metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array);
        tokens
            .map(|tokens| tokens.len)
            .or_else(|| self.count("vocab_size"))
            .or_else(|| self.tensor(EMBEDDING)?.sizes.get(1).copied())
    }

    fn tied(&self) -> bool {
        self.tensor(EMBEDDING).is_some() && self.tensor(OUTPUT).is_none()
    }

    fn has_experts(&self) -> bool {
        self.count("expert_count").is_some_and(|count| count > 0)
            || self.tensors.iter().any(|tensor| tensor.name.contains("_exps."))
    }

    fn step_bytes(&self) -> Option<u64> {
        let extra = self.count("nextn_predict_layers").unwrap_or(0);
        if self.tensors.is_empty() || self.has_experts() || extra > 0 {
            return None;
        }
        let tied = self.tied();
        Some(self.sum(|tensor| {
            let row_only = TABLES.contains(&tensor.name.as_str());
            if row_only && !(tied && tensor.name == EMBEDDING) { 0 } else { tensor.bytes }
        }))
    }

    fn kv_elements_per_token(&self, summary: &Summary) -> Option<u64> {
        let other_cache = ["attention.kv_lora_rank", "attention.shared_kv_layers"];
        if other_cache.iter().any(|key| self.count(key).is_some_and(|count| count > 0)) {
            return None;
        }
        let heads = summary.head_count_kv.as_ref()?.total(summary.block_count?)?;
        heads.checked_mul(summary.key_length?.checked_add(summary.value_length?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tensor;
    use crate::value::{Array, ValueKind};

    fn tensor(name: &str, elements: u64) -> Tensor {
        let kind = TensorType::F16;
        let (sizes, bytes) = (vec![elements], elements * 2);
        Tensor { name: name.into(), sizes, kind, offset: 0, elements, bytes }
    }

    fn model(metadata: &[(&str, Value)], tensors: &[(&str, u64)]) -> Model {
        let mut metadata: BTreeMap<String, Value> =
            metadata.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
        metadata.insert("general.architecture".into(), Value::String("x".into()));
        let tensors = tensors.iter().map(|(name, elements)| tensor(name, *elements)).collect();
        Model { version: 3, metadata, tensors, weights_offset: 64, file_bytes: 4096 }
    }

    #[test]
    fn a_step_reads_the_embedding_only_where_it_is_the_output() {
        let tied = model(&[], &[("token_embd.weight", 100), ("blk.0.attn_q.weight", 10)]).summary();
        assert!(tied.tied);
        assert_eq!(tied.step_bytes, Some(220));
        let untied = model(&[], &[("token_embd.weight", 100), ("output.weight", 100)]).summary();
        assert!(!untied.tied);
        assert_eq!(untied.step_bytes, Some(200));
        assert_eq!(untied.weight_bytes, 400);
    }

    #[test]
    fn a_model_with_experts_has_no_step_bytes() {
        let experts =
            model(&[("x.expert_count", Value::U32(8))], &[("output.weight", 4)]).summary();
        assert_eq!((experts.step_bytes, experts.expert_count), (None, Some(8)));
        let unsaid = model(&[], &[("blk.0.ffn_up_exps.weight", 4)]).summary();
        assert_eq!((unsaid.step_bytes, unsaid.expert_count), (None, None));
    }

    #[test]
    fn heads_of_keys_may_differ_from_layer_to_layer() {
        let heads =
            Array { element: ValueKind::I32, len: 3, values: [4, 0, 2].map(Value::I32).to_vec() };
        let mut metadata = vec![
            ("x.block_count", Value::U32(3)),
            ("x.embedding_length", Value::U32(64)),
            ("x.attention.head_count", Value::U32(4)),
            ("x.attention.head_count_kv", Value::Array(heads)),
        ];
        let summary = model(&metadata, &[]).summary();
        assert_eq!((summary.key_length, summary.value_length), (Some(16), Some(16)));
        assert_eq!(summary.kv_elements_per_token, Some(6 * 32));
        assert_eq!(summary.head_count_kv.unwrap().same(), None);
        metadata[0].1 = Value::U32(4);
        assert_eq!(model(&metadata, &[]).summary().kv_elements_per_token, None);
        metadata.pop();
        metadata.push(("x.attention.key_length", Value::U32(24)));
        assert_eq!(model(&metadata, &[]).summary().kv_elements_per_token, Some(16 * 40));
        metadata.push(("x.attention.kv_lora_rank", Value::U32(512)));
        assert_eq!(model(&metadata, &[]).summary().kv_elements_per_token, None);
    }

    #[test]
    fn a_name_is_plain_text() {
        let name = format!("a\u{1b}[2J\n{}", "b".repeat(200));
        let name = model(&[("general.name", Value::String(name))], &[]).summary().name.unwrap();
        assert!(name.starts_with("a [2J b") && name.chars().count() == 81, "{name}");
    }

    #[test]
    fn heads_of_zero_divide_nothing() {
        let metadata =
            [("x.embedding_length", Value::U32(64)), ("x.attention.head_count", Value::U32(0))];
        assert_eq!(model(&metadata, &[]).summary().key_length, None);
    }
}
