//! The reader on small files made by hand: what it reads, and what it says of damaged ones.
#![allow(clippy::unwrap_used, reason = "tests")]

use loadline_gguf::{Array, FormatError, Model, TensorType, Value, ValueKind};

/// The parts of a file, and where each ends.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn str(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    fn head(version: u32, tensors: u64, entries: u64) -> Self {
        Self::default().raw(b"GGUF").u32(version).u64(tensors).u64(entries)
    }

    fn architecture(self) -> Self {
        self.str("general.architecture").u32(8).str("x")
    }

    fn tensor(self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Self {
        let bytes = self.str(name).u32(sizes.len() as u32);
        sizes.iter().fold(bytes, |bytes, size| bytes.u64(*size)).u32(kind).u64(offset)
    }

    fn weights(mut self, bytes: usize) -> Self {
        let begin = self.0.len().next_multiple_of(32);
        self.0.resize(begin + bytes, 0);
        self
    }

    fn read(&self) -> Result<Model, FormatError> {
        Model::read(self.0.as_slice(), self.0.len() as u64)
    }

    fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

/// A whole file with a value of every type.
fn whole() -> Bytes {
    header().weights(64 + 12)
}

fn header() -> Bytes {
    Bytes::head(3, 2, 17)
        .architecture()
        .str("u8")
        .u32(0)
        .raw(&[7])
        .str("i8")
        .u32(1)
        .raw(&[0xff])
        .str("u16")
        .u32(2)
        .raw(&[1, 2])
        .str("i16")
        .u32(3)
        .raw(&[0xff, 0xff])
        .str("x.block_count")
        .u32(4)
        .u32(1)
        .str("i32")
        .u32(5)
        .u32(1 << 31)
        .str("f32")
        .u32(6)
        .raw(&1.5_f32.to_le_bytes())
        .str("bool")
        .u32(7)
        .raw(&[1])
        .str("u64")
        .u32(10)
        .u64(1 << 40)
        .str("i64")
        .u32(11)
        .u64(u64::MAX)
        .str("f64")
        .u32(12)
        .raw(&2.5_f64.to_le_bytes())
        .str("texts")
        .u32(9)
        .u32(8)
        .u64(2)
        .str("a")
        .str("")
        .str("x.attention.head_count_kv")
        .u32(9)
        .u32(4)
        .u64(1)
        .u32(2)
        .str("x.attention.key_length")
        .u32(4)
        .u32(8)
        .str("x.attention.value_length")
        .u32(4)
        .u32(8)
        .str("nested")
        .u32(9)
        .u32(9)
        .u64(2)
        .u32(0)
        .u64(1)
        .raw(&[1])
        .u32(0)
        .u64(0)
        .tensor("token_embd.weight", &[32, 2], 3, 0)
        .tensor("b", &[3], 0, 64)
}

#[test]
fn every_kind_of_value_is_read() {
    let model = whole().read().unwrap();
    assert_eq!(model.version, 3);
    let value = |key: &str| model.metadata[key].clone();
    assert_eq!(value("u8"), Value::U8(7));
    assert_eq!(value("i8"), Value::I8(-1));
    assert_eq!(value("u16"), Value::U16(513));
    assert_eq!(value("i16"), Value::I16(-1));
    assert_eq!(value("i32"), Value::I32(i32::MIN));
    assert_eq!(value("f32"), Value::F32(1.5));
    assert_eq!(value("bool"), Value::Bool(true));
    assert_eq!(value("u64"), Value::U64(1 << 40));
    assert_eq!(value("i64"), Value::I64(-1));
    assert_eq!(value("f64"), Value::F64(2.5));
    let values = vec![Value::String("a".into()), Value::String(String::new())];
    assert_eq!(value("texts"), Value::Array(Array { element: ValueKind::String, len: 2, values }));
    let nested = Array { element: ValueKind::Array, len: 2, values: vec![] };
    assert_eq!(value("nested"), Value::Array(nested));
    let tensor = model.tensor("token_embd.weight").unwrap();
    assert_eq!((tensor.elements, tensor.bytes, tensor.kind), (64, 40, TensorType::Q4_1));
    let summary = model.summary();
    assert_eq!(summary.kv_elements_per_token, Some(32));
    assert_eq!((summary.step_bytes, summary.weight_bytes), (Some(52), 52));
    assert_eq!((summary.quantization, summary.vocabulary), (Some(TensorType::Q4_1), Some(2)));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = whole();
    let weights = whole.read().unwrap().weights_offset as usize;
    for cut in 0..whole.0.len() {
        let error = Bytes(whole.0[..cut].to_vec()).read().unwrap_err();
        let named = matches!(error, FormatError::MissingWeights { .. });
        assert_eq!(named, cut >= header().0.len(), "{cut}: {error}");
    }
    let said = Bytes(whole.0[..whole.0.len() - 5].to_vec()).error();
    assert!(
        said.contains("truncated: 5 of the 12 bytes of the tensor \"b\" are missing"),
        "{said}"
    );
    let said = Bytes(whole.0[..weights + 10].to_vec()).error();
    assert!(said.contains("30 of the 40 bytes of the tensor \"token_embd.weight\""), "{said}");
}

#[test]
fn no_damaged_byte_is_a_panic() {
    let whole = whole();
    for at in 0..whole.0.len() {
        let mut damaged = whole.clone();
        for byte in 0..=u8::MAX {
            damaged.0[at] = byte;
            match damaged.read() {
                Ok(model) => {
                    let summary = model.summary();
                    assert!(summary.weight_bytes <= damaged.0.len() as u64);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn what_is_no_model_is_said() {
    let huge = u64::MAX;
    let one = || Bytes::head(3, 1, 1).architecture();
    let cases = [
        (
            Bytes::default().raw(b"PK\x03\x04\x00\x00\x00\x00"),
            "not a GGUF file: it begins with \"PK",
        ),
        (Bytes::head(1, 0, 0), "version 1: only 2 and 3 are read; convert the model again"),
        (Bytes::head(4, 0, 0), "version 4: only 2 and 3 are read"),
        (Bytes::head(3_u32.swap_bytes(), 0, 0), "big endian"),
        (Bytes::head(3, huge, 0), "the number of tensors at byte 8 is 18446744073709551615"),
        (Bytes::head(3, 0, huge), "the number of metadata entries at byte 16"),
        (Bytes::head(3, 0, 0), "general.architecture is missing"),
        (
            Bytes::head(3, 0, 1).u64(huge).u64(0),
            "a metadata key at byte 24 is 18446744073709551615",
        ),
        (Bytes::head(3, 0, 1).u64(99).u64(0), "ends at byte 40, inside a metadata key at byte 32"),
        (Bytes::head(3, 0, 1).str("a").u32(13).u64(0), "\"a\" has a value of unknown type 13"),
        (Bytes::head(3, 0, 1).str("a").u32(7).raw(&[2]), "a boolean at byte 37 is 2"),
        (Bytes::head(3, 0, 1).str("a").u32(8).u64(1).raw(&[255]), "at byte 37 is not UTF-8"),
        (
            Bytes::head(3, 0, 1).str("a").u32(9).u32(10).u64(huge),
            "the length of an array at byte 41",
        ),
        (Bytes::head(3, 0, 2).architecture().architecture(), "architecture\" stands twice"),
        (one().tensor("a", &[1], 77, 0), "\"a\" has the unknown type 77: made by a newer ggml"),
        (one().tensor("a", &[1], 31, 0), "type 31, which ggml no longer reads"),
        (one().tensor("a", &[33], 8, 0), "rows are not whole blocks of 32"),
        (one().tensor("a", &[huge, 2], 0, 0), "more bytes than can be counted"),
        (one().tensor("a", &[huge], 0, 0), "more bytes than can be counted"),
        (one().tensor("a", &[1], 0, 8), "its offset 8 is not a multiple of 32"),
        (one().tensor("a", &[1; 5], 0, 0), "the number of sizes of a tensor"),
        (one().tensor("a", &[1], 0, huge - 31), "4 of the 4 bytes of the tensor \"a\" are missing"),
    ];
    for (bytes, said) in cases {
        let text = bytes.error();
        assert!(text.contains(said), "wanted: {said}\nfound:  {text}");
    }
    let two = Bytes::head(3, 2, 1).architecture().tensor("a", &[9], 0, 0);
    let same_name = two.clone().tensor("a", &[1], 0, 64).weights(128);
    assert!(same_name.error().contains("the tensor \"a\" stands twice"));
    let same_place = two.tensor("b", &[1], 0, 32).weights(128);
    assert!(same_place.error().contains("the tensors \"a\" and \"b\" overlap at byte"));
}

#[test]
fn arrays_are_nested_only_so_deep() {
    let nested = |depth: usize| {
        let bytes = Bytes::head(3, 0, 2).architecture().str("a").u32(9);
        (1..depth).fold(bytes, |bytes, _| bytes.u32(9).u64(1)).u32(0).u64(1).raw(&[1])
    };
    nested(4).read().unwrap();
    assert!(nested(5).error().contains("nested deeper than 4"));
    assert!(nested(100_000).error().contains("nested deeper than 4"));
}

#[test]
fn part_of_a_split_model_is_refused() {
    let part = Bytes::head(3, 0, 3).architecture();
    let part = part.str("split.no").u32(2).raw(&[1, 0]).str("split.count").u32(2).raw(&[3, 0]);
    let said = part.error();
    assert!(said.contains("part 2 of 3 of a split model: join the parts first"), "{said}");
}

#[test]
fn an_alignment_is_a_power_of_two() {
    let aligned = |to: u32| {
        let bytes = Bytes::head(2, 1, 2).architecture().str("general.alignment").u32(4).u32(to);
        bytes.tensor("a", &[1], 0, 0).weights(4096)
    };
    let model = aligned(1024).read().unwrap();
    assert_eq!((model.version, model.weights_offset), (2, 1024));
    for to in [0, 3, 1 << 30] {
        assert!(aligned(to).error().contains("it must be a power of two"));
    }
}

#[test]
fn long_arrays_are_counted_and_not_kept() {
    let mut bytes = Bytes::head(3, 0, 2).architecture();
    bytes = bytes.str("tokenizer.ggml.tokens").u32(9).u32(8).u64(5000);
    bytes = (0..5000).fold(bytes, |bytes, _| bytes.str("word"));
    let model = bytes.read().unwrap();
    assert_eq!(model.summary().vocabulary, Some(5000));
    let tokens = model.metadata["tokenizer.ggml.tokens"].as_array().unwrap();
    assert!(tokens.values.is_empty());
}

#[test]
fn a_directory_and_a_missing_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = Model::open(dir.path()).unwrap_err().to_string();
    assert!(said.starts_with("cannot read ") && said.contains("directory"), "{said}");
    let missing = dir.path().join("no.gguf");
    let said = Model::open(&missing).unwrap_err().to_string();
    assert!(said.starts_with("cannot open ") && said.contains("no.gguf"), "{said}");
}
