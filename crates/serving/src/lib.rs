//! loadline-serving

pub mod answer;
