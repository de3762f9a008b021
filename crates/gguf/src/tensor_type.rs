//! The types of weights that ggml knows: how many elements a block has and how many bytes.

use std::fmt;

/// A type of weights: elements are stored in blocks of `block_elements`, each of `block_bytes`.
/// Source: `type_traits` in ggml.c and the block structures in ggml-common.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType {
    /// Its number in a file.
    pub id: u32,
    /// Its name as llama.cpp's users know it: `Q4_K`.
    pub name: &'static str,
    /// Elements of one block.
    pub block_elements: u64,
    /// Bytes of one block.
    pub block_bytes: u64,
}

const fn kind(id: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> TensorType {
    TensorType { id, name, block_elements, block_bytes }
}

const KNOWN: [TensorType; 35] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::Q4_0,
    TensorType::Q4_1,
    kind(6, "Q5_0", 32, 22),
    kind(7, "Q5_1", 32, 24),
    TensorType::Q8_0,
    kind(9, "Q8_1", 32, 36),
    kind(10, "Q2_K", 256, 84),
    kind(11, "Q3_K", 256, 110),
    kind(12, "Q4_K", 256, 144),
    kind(13, "Q5_K", 256, 176),
    kind(14, "Q6_K", 256, 210),
    kind(15, "Q8_K", 256, 292),
    kind(16, "IQ2_XXS", 256, 66),
    kind(17, "IQ2_XS", 256, 74),
    kind(18, "IQ3_XXS", 256, 98),
    kind(19, "IQ1_S", 256, 50),
    kind(20, "IQ4_NL", 32, 18),
    kind(21, "IQ3_S", 256, 110),
    kind(22, "IQ2_S", 256, 82),
    kind(23, "IQ4_XS", 256, 136),
    kind(24, "I8", 1, 1),
    kind(25, "I16", 1, 2),
    kind(26, "I32", 1, 4),
    kind(27, "I64", 1, 8),
    kind(28, "F64", 1, 8),
    kind(29, "IQ1_M", 256, 56),
    kind(30, "BF16", 1, 2),
    kind(34, "TQ1_0", 256, 54),
    kind(35, "TQ2_0", 256, 66),
    kind(39, "MXFP4", 32, 17),
    kind(40, "NVFP4", 64, 36),
    kind(41, "Q1_0", 128, 18),
    kind(42, "Q2_0", 64, 18),
];
/// Numbers of types that files had once: Q4_2, Q4_3 and the interleaved forms of Q4_0 and IQ4_NL.
const REMOVED: [u32; 8] = [4, 5, 31, 32, 33, 36, 37, 38];

impl TensorType {
    /// 32-bit floats.
    pub const F32: Self = kind(0, "F32", 1, 4);
    /// 16-bit floats (IEEE 754 binary16).
    pub const F16: Self = kind(1, "F16", 1, 2);
    /// 4 bits an element, and a 16-bit scale for 32 of them.
    pub const Q4_0: Self = kind(2, "Q4_0", 32, 18);
    /// 4 bits an element, and a 16-bit scale and minimum for 32 of them.
    pub const Q4_1: Self = kind(3, "Q4_1", 32, 20);
    /// 8 bits an element, and a 16-bit scale for 32 of them.
    pub const Q8_0: Self = kind(8, "Q8_0", 32, 34);

    /// The type with this number in files; none if ggml does not have it.
    pub fn from_id(id: u32) -> Option<Self> {
        KNOWN.into_iter().find(|known| known.id == id)
    }

    /// ggml had this type and reads it no longer.
    pub fn is_removed(id: u32) -> bool {
        REMOVED.contains(&id)
    }

    /// Every type that is known, by number.
    pub fn all() -> &'static [Self] {
        &KNOWN
    }

    /// Bytes of `elements` elements; none if they are not whole blocks or too many for a u64.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_elements) {
            return None;
        }
        (elements / self.block_elements).checked_mul(self.block_bytes)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_names_differ() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].id < pair[1].id));
        let names: std::collections::BTreeSet<_> = KNOWN.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KNOWN.len());
        assert!(REMOVED.iter().all(|id| TensorType::from_id(*id).is_none()));
    }

    #[test]
    fn bits_per_element_are_those_that_llama_cpp_prints() {
        let bits = |name: &str| {
            let kind = KNOWN.iter().find(|kind| kind.name == name).unwrap();
            kind.block_bytes as f64 * 8.0 / kind.block_elements as f64
        };
        let expected = [
            ("F32", 32.0),
            ("BF16", 16.0),
            ("Q8_0", 8.5),
            ("Q6_K", 6.5625),
            ("Q5_K", 5.5),
            ("Q5_0", 5.5),
            ("Q4_K", 4.5),
            ("Q4_0", 4.5),
            ("Q4_1", 5.0),
            ("IQ4_XS", 4.25),
            ("IQ4_NL", 4.5),
            ("Q3_K", 3.4375),
            ("IQ3_S", 3.4375),
            ("IQ3_XXS", 3.0625),
            ("Q2_K", 2.625),
            ("IQ2_S", 2.5625),
            ("IQ2_XS", 2.3125),
            ("IQ2_XXS", 2.0625),
            ("IQ1_M", 1.75),
            ("IQ1_S", 1.5625),
            ("TQ1_0", 1.6875),
            ("TQ2_0", 2.0625),
            ("MXFP4", 4.25),
            ("NVFP4", 4.5),
        ];
        for (name, expected) in expected {
            assert_eq!(bits(name), expected, "{name}");
        }
    }

    #[test]
    fn bytes_are_of_whole_blocks_only() {
        assert_eq!(TensorType::Q4_1.bytes(64), Some(40));
        assert_eq!(TensorType::Q4_1.bytes(33), None);
        assert_eq!(TensorType::F32.bytes(u64::MAX), None);
    }
}
