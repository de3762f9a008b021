//! 16-bit floats and the block quantizations Q8_0, Q4_0 and Q4_1, as ggml's reference quantizers
//! do them (`quantize_row_*_ref` in ggml-quants.c): same layout, same rounding.

/// Elements of a block of each of these quantizations.
pub const BLOCK: usize = 32;

/// The nearest IEEE 754 binary16, ties to even, as its bits.
pub fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // From 65520 on, halfway between the largest number and the next, it is infinite.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14 numbers have a fixed step of 2^-24. Adding 0.5, whose own step that is,
        // makes the processor round there.
        let rounded = f32::from_bits(magnitude) + 0.5;
        return sign | (rounded.to_bits() - 0.5_f32.to_bits()) as u16;
    }
    let odd = magnitude >> 13 & 1;
    let rounded = magnitude + 0xfff + odd;
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// The value of an IEEE 754 binary16 given as its bits.
pub fn f16_value(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// Appends a block of 34 bytes: a 16-bit scale, then 32 signed bytes.
pub fn q8_0(values: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = inverse(scale);
    bytes.extend(f16_bits(scale).to_le_bytes());
    bytes.extend(values.map(|value| (value * inverse).round() as i8 as u8));
}

/// Appends a block of 18 bytes: a 16-bit scale, then 4 bits an element, biased by 8. The element of
/// the largest magnitude is exact up to the scale's own rounding.
pub fn q4_0(values: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let extreme = values
        .iter()
        .fold(0.0_f32, |extreme, value| if value.abs() > extreme.abs() { *value } else { extreme });
    let scale = extreme / -8.0;
    let inverse = inverse(scale);
    bytes.extend(f16_bits(scale).to_le_bytes());
    nibbles(values, bytes, |value| value * inverse + 8.5);
}

/// Appends a block of 20 bytes: a 16-bit scale and a 16-bit minimum, then 4 bits an element.
pub fn q4_1(values: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let min = values.iter().copied().fold(f32::MAX, f32::min);
    let max = values.iter().copied().fold(f32::MIN, f32::max);
    let scale = (max - min) / 15.0;
    let inverse = inverse(scale);
    bytes.extend(f16_bits(scale).to_le_bytes());
    bytes.extend(f16_bits(min).to_le_bytes());
    nibbles(values, bytes, |value| (value - min) * inverse + 0.5);
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Elements j and j + 16 share byte j, the first in its low half.
fn nibbles(values: &[f32; BLOCK], bytes: &mut Vec<u8>, level: impl Fn(f32) -> f32) {
    let (low, high) = values.split_at(BLOCK / 2);
    // Levels are never negative; the cast cuts what is behind the point.
    let nibble = |value: f32| (level(value) as u8).min(15);
    bytes.extend(low.iter().zip(high).map(|(low, high)| nibble(*low) | nibble(*high) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = [f32; BLOCK]> {
        let mut state = 7_u64;
        (0..2000).map(move |n| {
            std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let unit = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
                unit * 10_f32.powi(n % 5 - 2)
            })
        })
    }

    fn nibble_at(bytes: &[u8], at: usize) -> f32 {
        let byte = bytes[at % 16];
        f32::from(if at < 16 { byte & 15 } else { byte >> 4 })
    }

    fn half_at(bytes: &[u8], at: usize) -> f32 {
        f16_value(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
    }

    /// Most that a number moves when it becomes a half.
    fn half_rounding(value: f32) -> f32 {
        (value.abs() * 2_f32.powi(-11)).max(2_f32.powi(-25))
    }

    #[test]
    fn halves_go_there_and_back() {
        for bits in 0..=u16::MAX {
            let value = f16_value(bits);
            if !value.is_nan() {
                assert_eq!(f16_bits(value), bits, "{bits:#06x} = {value}");
            }
        }
        assert!(f16_value(f16_bits(f32::NAN)).is_nan());
    }

    #[test]
    fn halves_round_to_the_nearest_and_ties_to_even() {
        assert_eq!(f16_bits(1.0 + 2_f32.powi(-11)), f16_bits(1.0));
        assert_eq!(f16_bits(1.0 + 3.0 * 2_f32.powi(-11)), f16_bits(1.0 + 2_f32.powi(-9)));
        assert_eq!(f16_bits(65519.0), 0x7bff);
        assert_eq!(f16_bits(65520.0), 0x7c00);
        assert_eq!(f16_bits(-1e30), 0xfc00);
        assert_eq!(f16_bits(2_f32.powi(-25)), 0);
        assert_eq!(f16_bits(2_f32.powi(-25) * 1.001), 1);
        for value in samples().flatten() {
            let error = (f16_value(f16_bits(value)) - value).abs();
            assert!(error <= half_rounding(value), "{value}");
        }
    }

    #[test]
    fn q8_0_is_within_half_a_step() {
        for values in samples() {
            let mut bytes = Vec::new();
            q8_0(&values, &mut bytes);
            assert_eq!(bytes.len(), 34);
            let scale = half_at(&bytes, 0);
            for (value, byte) in values.iter().zip(&bytes[2..]) {
                // The rounding of the scale moves the largest level most.
                let error = (f32::from(*byte as i8) * scale - value).abs();
                let most = 0.501 * scale + 127.0 * half_rounding(scale);
                assert!(error <= most, "{value}: {error}, step {scale}");
            }
        }
    }

    #[test]
    fn q4_0_is_within_half_a_step_but_at_the_far_end() {
        for values in samples() {
            let mut bytes = Vec::new();
            q4_0(&values, &mut bytes);
            assert_eq!(bytes.len(), 18);
            let scale = half_at(&bytes, 0);
            for (at, value) in values.iter().enumerate() {
                // Levels go from -8 to 7, so that -extreme itself is a whole step away.
                let far = value / scale > 7.4;
                let error = ((nibble_at(&bytes[2..], at) - 8.0) * scale - value).abs();
                let steps = if far { 1.001 } else { 0.501 };
                let most = steps * scale.abs() + 8.0 * half_rounding(scale);
                assert!(error <= most, "{value}: {error}, step {scale}");
            }
        }
    }

    #[test]
    fn q4_1_is_within_half_a_step() {
        for values in samples() {
            let mut bytes = Vec::new();
            q4_1(&values, &mut bytes);
            assert_eq!(bytes.len(), 20);
            let (scale, min) = (half_at(&bytes, 0), half_at(&bytes, 2));
            for (at, value) in values.iter().enumerate() {
                let error = (nibble_at(&bytes[4..], at) * scale + min - value).abs();
                let most = 0.501 * scale + 15.0 * half_rounding(scale) + half_rounding(min);
                assert!(error <= most, "{value}: {error}, step {scale}");
            }
        }
    }

    /// Bytes worked out by hand from ggml's reference quantizers.
    #[test]
    fn blocks_are_those_of_ggml() {
        let mut values = [0.0; BLOCK];
        (values[0], values[1], values[16], values[31]) = (-8.0, 7.0, 3.0, 2.0);
        let mut bytes = Vec::new();
        q4_0(&values, &mut bytes);
        // The scale is 1: -8 is level 0, 7 is 15, 3 is 11, 2 is 10, 0 is 8.
        assert_eq!(bytes[..2], [0x00, 0x3c]);
        assert_eq!(bytes[2..5], [0xb0, 0x8f, 0x88]);
        assert_eq!(bytes[17], 0xa8);
        bytes.clear();
        q4_1(&values, &mut bytes);
        // The scale is 1 and the minimum -8: the same levels.
        assert_eq!(bytes[..4], [0x00, 0x3c, 0x00, 0xc8]);
        assert_eq!(bytes[4..7], [0xb0, 0x8f, 0x88]);
        bytes.clear();
        (values[0], values[1]) = (-127.0, 2.5);
        q8_0(&values, &mut bytes);
        // Halves are rounded away from zero.
        assert_eq!(bytes[..5], [0x00, 0x3c, 0x81, 3, 0]);
    }

    #[test]
    fn zeros_stay_zeros() {
        for (quantize, zero) in
            [(q8_0 as fn(&[f32; BLOCK], &mut Vec<u8>), 0), (q4_0, 0x88), (q4_1, 0)]
        {
            let mut bytes = Vec::new();
            quantize(&[0.0; BLOCK], &mut bytes);
            assert_eq!(bytes[..2], [0, if zero == 0x88 { 0x80 } else { 0 }]);
            assert!(bytes[4..].iter().all(|byte| *byte == zero));
        }
    }
}
