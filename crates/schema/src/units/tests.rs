//! Every spelling, every refusal, and that no text makes a parser panic.

use proptest::prelude::*;

use super::*;

fn ns(text: &str) -> Result<u64, String> {
    text.parse::<DurationNs>().map(|duration| duration.0).map_err(|error| error.to_string())
}

#[test]
fn durations() {
    for (text, expected) in [
        ("500ms", 500_000_000),
        ("1.5s", 1_500_000_000),
        ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("10ns", 10),
        ("1m30s", 90_000_000_000),
        (" 5 s ", 5_000_000_000),
        ("0", 0),
        ("0s", 0),
        ("0.1s", 100_000_000),
        ("1_000ms", 1_000_000_000),
        ("0.0000000004s", 0),
        ("0.0000000005s", 1),
    ] {
        assert_eq!(ns(text), Ok(expected), "{text}");
    }
}

#[test]
fn refused_durations_say_what_to_write() {
    let bare = ns("30").unwrap_err();
    assert_eq!(
        bare,
        "`30` is not a duration: it has no unit; write a number and a unit of ns, us, ms, s, m, h \
         or d, as in `500ms`, `1.5s`, `2m`"
    );
    for (text, what) in [
        ("", "it is empty"),
        ("-5s", "it is negative"),
        ("5 parsecs", "unknown unit `parsecs`"),
        ("ms", "it has no plain number"),
        ("1e3s", "unknown unit `e`"),
        ("1..5s", "it has no plain number"),
        ("1.s", "it has no plain number"),
        ("1m30", "it has no unit"),
        ("400d", "it is too large"),
        ("300d300d", "it is longer than 366 days"),
        ("99999999999999999999999999999999s", "it has no plain number"),
    ] {
        let error = ns(text).expect_err(text);
        assert!(error.contains(what) && error.contains(text), "{text}: {error}");
    }
}

#[test]
fn sizes_and_byte_rates() {
    for (text, expected) in [
        ("1MiB", 1 << 20),
        ("1m", 1 << 20),
        ("1g", 1 << 30),
        ("500MB", 500_000_000),
        ("4096", 4_096),
        ("1.5k", 1_536),
        ("2 GiB", 2 << 30),
    ] {
        assert_eq!(text.parse(), Ok(Bytes(expected)), "{text}");
        assert_eq!(format!("{text}/s").parse(), Ok(BytesPerS(expected)), "{text}");
    }
    assert!("1XB".parse::<Bytes>().unwrap_err().to_string().contains("MiB"));
    assert!("500MB".parse::<BytesPerS>().unwrap_err().to_string().contains("/s"));
}

#[test]
fn rates_ratios_and_counts() {
    assert_eq!("2.5/s".parse(), Ok(RatePerS(2.5)));
    assert_eq!("500".parse(), Ok(RatePerS(500.0)));
    assert_eq!("30/min".parse(), Ok(RatePerS(0.5)));
    assert!("-1".parse::<RatePerS>().unwrap_err().to_string().contains("negative"));
    assert!("inf".parse::<RatePerS>().is_err());
    assert_eq!("0.1%".parse(), Ok(Ratio(0.001)));
    assert_eq!("0.001".parse(), Ok(Ratio(0.001)));
    assert_eq!("100%".parse(), Ok(Ratio(1.0)));
    assert!("5".parse::<Ratio>().unwrap_err().to_string().contains("more than 1"));
    assert_eq!("4k".parse(), Ok(Count(4_000)));
    assert_eq!("4Ki".parse(), Ok(Count(4_096)));
    assert_eq!("1.5k".parse(), Ok(Count(1_500)));
    assert_eq!("10_000".parse(), Ok(Count(10_000)));
    assert!("1.5".parse::<Count>().unwrap_err().to_string().contains("whole"));
}

#[test]
fn laws_of_lengths() {
    assert_eq!("512".parse(), Ok(Length::Fixed { tokens: 512 }));
    assert_eq!("4k".parse(), Ok(Length::Fixed { tokens: 4_000 }));
    assert_eq!("uniform:100-200".parse(), Ok(Length::Uniform { min: 100, max: 200 }));
    assert_eq!("normal:512,64".parse(), Ok(Length::Normal { mean: 512.0, sd: 64.0 }));
    assert_eq!("lognormal:400, 0.5".parse(), Ok(Length::LogNormal { median: 400.0, sigma: 0.5 }));
    for (text, what) in [
        ("0", "at least 1 token"),
        ("-3", "it is negative"),
        ("uniform:200-100", "least length is more"),
        ("uniform:200", "two numbers"),
        ("normal:0,1", "outside 1 to 100 million"),
        ("lognormal:400,9", "sigma is more than 5"),
        ("zipf:3", "unknown law `zipf`"),
        ("200M", "more than 100 million"),
    ] {
        let error = text.parse::<Length>().expect_err(text).to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn laws_of_arrivals() {
    assert_eq!("poisson".parse(), Ok(Arrival::Poisson));
    assert_eq!("constant".parse(), Ok(Arrival::Constant));
    assert_eq!("gamma".parse(), Ok(Arrival::Gamma { shape: GAMMA_SHAPE_DEFAULT }));
    assert_eq!("gamma:2".parse(), Ok(Arrival::Gamma { shape: 2.0 }));
    for text in ["uniform", "gamma:0", "gamma:x", "poisson:1", ""] {
        assert!(text.parse::<Arrival>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(value in any::<u64>(), rate in 0.0..1e9_f64) {
        let duration = DurationNs(value % (DURATION_MAX_NS + 1));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        prop_assert_eq!(Bytes(value).to_string().parse(), Ok(Bytes(value)));
        prop_assert_eq!(Count(value).to_string().parse(), Ok(Count(value)));
        let back: RatePerS = RatePerS(rate).to_string().parse().unwrap();
        prop_assert!((back.0 - rate).abs() <= rate * 1e-15);
    }

    #[test]
    fn no_text_panics(text in "\\PC*", near in "[-0-9._]{0,40}[a-zA-Zµ%/:,-]{0,12}[0-9.]{0,5}") {
        for text in [&text, &near] {
            let _ = text.parse::<DurationNs>();
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<BytesPerS>();
            let _ = text.parse::<RatePerS>();
            let _ = text.parse::<Ratio>();
            let _ = text.parse::<Count>();
            let _ = text.parse::<Length>();
            let _ = text.parse::<Arrival>();
        }
    }
}
