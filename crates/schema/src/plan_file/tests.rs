//! Plans that are accepted, and the exact words of every refusal.

use proptest::prelude::*;

use super::*;
use crate::plan::{Extent, KeySource, Load, Prompt, ServingStage, Stage, Warmup};

fn resolve(text: &str) -> Result<ServingStage, String> {
    let plan = PlanFile::parse(text).and_then(|file| file.resolve(7));
    let plan = plan.map_err(|error| error.to_string())?;
    let Some(Stage::Serving(stage)) = plan.stages.into_iter().next() else {
        return Err("no stage".into());
    };
    Ok(*stage)
}

/// A stage with an endpoint and these further lines.
fn stage(lines: &str) -> Result<ServingStage, String> {
    resolve(&format!("[[serving]]\nendpoint = \"http://a:1\"\n{lines}\n"))
}

fn refusal(lines: &str) -> String {
    stage(lines).expect_err(lines)
}

#[test]
fn defaults_are_those_of_the_definitions() {
    let stage = stage("").expect("valid");
    assert_eq!(stage.name, "serving");
    assert_eq!(stage.api, Api::Chat);
    assert_eq!(stage.model, None);
    let loads = [1, 4, 16, 64].map(|concurrency| Load::Closed { concurrency });
    assert_eq!(stage.points, loads);
    assert_eq!(stage.extent, Extent::Duration { duration_ns: 30_000_000_000 });
    assert_eq!(stage.warmup, Warmup::Steady { least_ns: 5_000_000_000, answers_per_slot: 2 });
    assert_eq!(stage.trials, 3);
    let tokens = Length::Fixed { tokens: 512 };
    assert_eq!(stage.prompt, Prompt::Synthetic { tokens, shared_prefix: 0 });
    assert_eq!(stage.output.tokens, Length::Fixed { tokens: 128 });
    assert_eq!(stage.timeouts, crate::plan::Timeouts::default());
    assert_eq!((stage.retries, stage.stop_after_errors), (0, 0.5));
    assert_eq!((stage.stagger_ns, stage.think_time_ns), (None, 0));
    assert!(stage.discover && stage.per_chunk_usage && stage.chunk_times && !stage.insecure);
}

#[test]
fn seed_is_the_plans_or_the_fresh_one() {
    let serving = "[[serving]]\nendpoint = \"http://a:1\"\n";
    let seed = |text: &str| PlanFile::parse(text).unwrap().resolve(7).unwrap().seed;
    assert_eq!(seed(serving), 7);
    assert_eq!(seed(&format!("seed = 3\n{serving}")), 3);
}

const FULL: &str = r#"
name = "llama3-8b on two 3090"
seed = 1

[[serving]]
name = "rates"
endpoint = ["http://gpu1:8000", "http://gpu2:8000/v1"]
model = "llama"
api = "completions"
prompt = { tokens = "uniform:100-200", shared_prefix = 50 }
output = { tokens = "normal:64,8", ignore_eos = false }
load = { rate = [0.5, "2/s"], arrival = "gamma:0.5" }
requests = 200
warmup = 20
trials = 5
timeouts = { connect = "1s", first_token = "10s", gap = "2s", total = "60s" }
retries = 1
stop_after_errors = "5%"
max_in_flight = 100
max_tokens_total = "2M"
headers = { X-Team = "infra" }
extra_body = { temperature = 0.7, stop = ["a", "b"] }
api_key_env = "KEY"
ca_file = "ca.pem"
discover = false
per_chunk_usage = false
chunk_times = false
reactors = 2
"#;

#[test]
fn every_key_arrives() {
    let stage = resolve(FULL).expect("valid");
    assert_eq!(stage.endpoints.len(), 2);
    let arrival = Arrival::Gamma { shape: 0.5 };
    let rates = [0.5, 2.0].map(|rate_per_s| Load::Open { rate_per_s, arrival });
    assert_eq!(stage.points, rates);
    assert_eq!(stage.extent, Extent::Requests { requests: 200 });
    assert_eq!(stage.warmup, Warmup::Requests { requests: 20 });
    assert_eq!(stage.timeouts.first_token_ns, 10_000_000_000);
    assert_eq!(stage.max_tokens_total, Some(2_000_000));
    assert_eq!(stage.headers[0].name, "X-Team");
    assert_eq!(stage.api_key, Some(KeySource::Env("KEY".into())));
    assert_eq!(format!("{}", stage.stop_after_errors), "0.05");
    let body = serde_json::to_string(&stage.extra_body).unwrap();
    assert_eq!(body, r#"{"stop":["a","b"],"temperature":0.7}"#);
    assert!(!stage.discover && !stage.per_chunk_usage && !stage.chunk_times);
}

#[test]
fn what_is_written_reads_the_same() {
    let small = PlanFile::of_stage(ServingFile {
        endpoint: vec!["http://a:1".into()],
        duration: Some(DurationNs(1_500_000_000)),
        warmup: Some(WarmupFile::Duration(DurationNs(0))),
        ..ServingFile::default()
    });
    let body = r#"{"seed":18446744073709551615,"stop":null,"t":0.5,"x":{"y":[1,"a",true]}}"#;
    let odd = PlanFile::of_stage(ServingFile {
        endpoint: vec!["http://a:1".into()],
        extra_body: serde_json::from_str(body).expect("an object"),
        ..ServingFile::default()
    });
    for plan in [
        odd,
        PlanFile::parse(FULL).unwrap(),
        small,
        PlanFile { seed: Some(u64::MAX), ..PlanFile::default() },
    ] {
        let text = plan.to_toml();
        let back = PlanFile::parse(&text).expect(&text);
        assert_eq!(PlanFile { source: None, ..back }, PlanFile { source: None, ..plan }, "{text}");
    }
}

#[test]
fn unknown_keys_show_the_line_and_the_nearest() {
    let error = refusal("promt = { tokens = 5 }");
    assert!(
        error.starts_with(
            "line 3, column 1: unknown key `promt` in [[serving]]\n  \
             3 | promt = { tokens = 5 }\n    | ^^^^^\n\
             did you mean `prompt`? allowed here: name, endpoint, embedded, "
        ),
        "{error}"
    );
    let error = refusal("load = { concurency = 4 }");
    assert_eq!(
        error,
        "line 3, column 10: unknown key `concurency` in `load`\n  \
         3 | load = { concurency = 4 }\n    |          ^^^^^^^^^^\n\
         did you mean `concurrency`? allowed here: concurrency, rate, burst, arrival, find, over, max"
    );
    let error = resolve("nmae = \"x\"").unwrap_err();
    assert!(error.starts_with("line 1, column 1: unknown key `nmae`\n"), "{error}");
    assert!(error.contains("did you mean `name`?"), "{error}");
}

#[test]
fn keys_of_other_tools_are_explained() {
    for (lines, hint) in [
        ("api_key = \"abc\"", "a key never stands in a plan"),
        ("request_rate = 4", "load = { rate = [1, 2, 4] }"),
        ("concurrency = 4", "it belongs into the load"),
        ("server = { command = [] }", "not supported by this version"),
        ("load = { find = \"load line\" }", "no SLA says what to hold"),
        ("timeout = \"5s\"", "timeouts = { total"),
    ] {
        let error = refusal(lines);
        assert!(error.contains(hint) && error.contains("line 3"), "{error}");
    }
}

#[test]
fn sections_of_later_versions_are_refused_with_their_line() {
    for section in ["[[network]]", "[cluster]"] {
        let error = resolve(&format!("name = \"x\"\n\n{section}\n")).unwrap_err();
        let expected = format!("{section} is not supported by this version\n  3 | {section}\n");
        assert!(error.starts_with("line 3, column ") && error.contains(&expected), "{error}");
    }
}

#[test]
fn contradictions_and_nonsense_are_refused() {
    for (lines, what) in [
        ("load = { concurrency = 1, rate = 2 }", "both `concurrency` and `rate`"),
        ("load = { rate = 1, burst = 2 }", "both `rate` and `burst`"),
        ("load = { concurrency = [] }", "`concurrency` is an empty list"),
        ("load = { rate = [] }", "`rate` is an empty list"),
        ("load = { concurrency = [1, 0] }", "a concurrency of 0"),
        ("load = { rate = [0.0] }", "a rate of 0 requests/s"),
        ("load = { rate = -1 }", "`-1` is not a rate: it is negative"),
        ("load = { concurrency = -4 }", "`-4` is not a count: it is negative"),
        ("load = { concurrency = 1.5 }", "it is not a whole number"),
        ("load = { concurrency = 2000000 }", "a concurrency of 2000000"),
        ("load = { arrival = \"poisson\" }", "`arrival` without `rate`"),
        ("load = { rate = 1, arrival = \"even\" }", "unknown law `even`"),
        ("duration = \"5s\"\nrequests = 5", "both `duration` and `requests`"),
        ("requests = 0", "`requests` is 0"),
        ("requests = -1", "it is negative"),
        ("duration = \"0s\"", "`duration` is 0"),
        ("duration = 30", "it has no unit"),
        ("duration = \"-3s\"", "it is negative"),
        ("trials = 0", "`trials` is 0"),
        ("trials = 70000", "70000 trials are more than 65535"),
        ("trials = 5000000000", "`5000000000` is too large"),
        ("timeouts = { gap = \"0s\" }", "`gap` is 0"),
        ("stop_after_errors = 0", "`stop_after_errors` is 0"),
        ("stop_after_errors = 5", "it is more than 1"),
        ("reactors = 0", "`reactors` is 0"),
        ("max_in_flight = 0\nload = { rate = 1 }", "`max_in_flight` is 0"),
        ("max_in_flight = 5", "the concurrency is the limit"),
        ("max_in_flight = 5\nload = { burst = 6 }", "a burst of 6 does not fit"),
        ("think_time = \"1s\"\nload = { rate = 1 }", "`think_time` belongs to a closed loop"),
        ("stagger = \"1s\"\nload = { burst = 1 }", "`stagger` belongs to a closed loop"),
        ("duration = \"1s\"\nload = { burst = 1 }", "a burst ends with its last answer"),
        ("prompt = { tokens = 0 }", "a length is at least 1 token"),
        ("prompt = { tokens = 5, file = \"x\" }", "both `file` and `tokens`"),
        ("prompt = { tokens = 5, shared_prefix = 5 }", "fills prompts of 5"),
        ("api = \"responses\"", "unknown value `responses`"),
        ("name = \"\"", "`name` is empty"),
        ("api_key_env = \"A\"\napi_key_file = \"b\"", "the key has one source"),
        ("api_key_env = \"\"", "`api_key_env` is empty"),
        ("headers = { \"a b\" = \"c\" }", "`a b` is no name of a header"),
        ("headers = { a = \"c\\nd\" }", "control characters"),
        ("headers = { Authorization = \"Bearer x\" }", "a key never stands in a plan"),
        ("extra_body = { stream = false }", "answers are always streamed"),
        ("extra_body = { when = 2026-01-01 }", "JSON has no dates"),
        ("extra_body = '[1]'", "the text is no JSON object"),
        ("extra_body = 5", "expected a table"),
        ("extra_body = { x = nan }", "JSON has no `inf`"),
        ("ca_file = \"a\"\ninsecure = true", "both `ca_file` and `insecure`"),
        ("insecure = \"yes\"", "expected a boolean"),
        ("duration = ", "line 3"),
        ("retries = 1\nretries = 2", "duplicate key"),
    ] {
        let error = refusal(lines);
        assert!(error.contains(what), "{lines}: {error}");
        assert!(error.starts_with("line "), "{lines}: {error}");
    }
}

#[test]
fn endpoints_are_required() {
    for (text, what) in [
        ("", "the plan has no stage"),
        ("[[serving]]\nname = \"x\"", "the stage names no endpoint"),
        ("[[serving]]\nendpoint = []", "the stage names no endpoint"),
        ("[[serving]]\nendpoint = \"\"", "an endpoint is empty"),
        ("[[serving]]\nendpoint = \"http://a b\"", "an endpoint has blanks"),
        ("[[serving]]\nendpoint = 5", "expected a string"),
        ("[serving]\nendpoint = \"http://a\"", "with two brackets, as in [[serving]]"),
    ] {
        let error = resolve(text).expect_err(text);
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn two_stages_have_two_names() {
    let one = "[[serving]]\nendpoint = \"http://a:1\"\n";
    let plan = PlanFile::parse(&one.repeat(2)).unwrap().resolve(1).unwrap();
    let names: Vec<String> = plan.stages.iter().map(|stage| stage.name().to_owned()).collect();
    assert_eq!(names, ["serving", "serving-2"]);
    let named = format!("{one}name = \"x\"\n").repeat(2);
    let error = PlanFile::parse(&named).unwrap().resolve(1).unwrap_err();
    assert_eq!(error.key, "serving[1].name");
    assert_eq!(error.place.as_ref().map(|place| place.line), Some(6));
    assert!(error.to_string().contains("two stages are called `x`"));
}

#[test]
fn a_plan_from_flags_has_no_line_and_names_the_key() {
    let file = PlanFile::of_stage(ServingFile {
        endpoint: vec!["http://a:1".into()],
        trials: Some(0),
        ..ServingFile::default()
    });
    let error = file.resolve(1).unwrap_err();
    assert_eq!(error.key, "serving[0].trials");
    assert_eq!(error.to_string(), "`trials` is 0\nwrite at least 1, or leave it out");
}

#[test]
fn a_short_total_timeout_shortens_the_defaults() {
    let stage = stage("timeouts = { total = \"10s\" }").unwrap();
    assert_eq!(stage.timeouts.first_token_ns, 10_000_000_000);
    assert_eq!(stage.timeouts.gap_ns, 10_000_000_000);
    assert_eq!(stage.timeouts.connect_ns, 5_000_000_000);
}

#[test]
fn bursts_have_their_own_extent_and_no_warm_up() {
    let stage = stage("load = { burst = [8, 32] }").unwrap();
    assert_eq!(stage.points, [8, 32].map(|requests| Load::Burst { requests }));
    assert_eq!(stage.extent, Extent::Requests { requests: 32 });
    assert_eq!(stage.warmup, Warmup::Requests { requests: 0 });
}

#[test]
fn places_survive_long_lines_tabs_and_wide_characters() {
    let long = format!("{}promt = 1", " ".repeat(300));
    let error = refusal(&long);
    assert!(error.contains("column 301"), "{error}");
    assert!(error.lines().all(|line| line.chars().count() < 110 || line.starts_with("did")));
    let error = refusal("\tmodel = \"ä\u{1f600}\"\t; \"x\"");
    assert!(error.starts_with("line 3, column "), "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = PlanFile::parse(&text).map(|file| file.resolve(1));
    }

    #[test]
    fn no_value_panics(
        key in "(name|seed|endpoint|prompt|load|duration|requests|warmup|trials|timeouts|headers|extra_body|stop_after_errors|x)",
        value in "(-?[0-9]{1,25}(\\.[0-9]{1,30})?|\"\\PC{0,12}\"|\\[[0-9, \"s]{0,9}\\]|\\{ (tokens|rate|concurrency|burst|gap) = -?[0-9.]{1,20} \\}|nan|inf|1979-05-27|true|[^\n]{0,9})",
    ) {
        let text = format!("[[serving]]\nendpoint = \"http://a\"\n{key} = {value}\n");
        if let Err(error) = PlanFile::parse(&text).and_then(|file| file.resolve(1)) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

mod storage {
    use super::*;
    use crate::plan::Stage;
    use crate::storage::{IoExtent, LoadMethod, StorageLoad, StorageStage, Workload};

    fn stage(text: &str) -> StorageStage {
        let plan = PlanFile::parse(text).expect("a plan").resolve(1).expect("it resolves");
        match plan.stages.into_iter().next() {
            Some(Stage::Storage(stage)) => *stage,
            _ => panic!("a storage stage"),
        }
    }

    #[test]
    fn a_path_is_enough() {
        let stage = stage("[[storage]]\npath = \"/shared\"\n");
        let workloads: Vec<Workload> = stage.cells.iter().map(|cell| cell.workload).collect();
        assert_eq!(workloads, [Workload::SeqWrite, Workload::SeqRead, Workload::RandRead]);
        let StorageLoad::Io(load) = &stage.cells[2].load else { panic!("blocks") };
        assert_eq!((load.bs_bytes, load.iodepth, load.numjobs), (4096, 32, 1));
        assert!(load.direct && !load.end_fsync);
        assert_eq!(load.extent, IoExtent::Runtime { runtime_ns: 10_000_000_000 });
    }

    #[test]
    fn fios_words_and_every_combination() {
        let stage = stage(
            "[[storage]]\npath = [\"/a\", \"/b\"]\nworkload = [\"randread\", \"write\"]\nbs = [\"4k\", \"64k\"]\niodepth = [1, 8]\nsize = \"64m\"\ntime_based = false\n",
        );
        assert_eq!(stage.cells.len(), 16);
        let StorageLoad::Io(load) = &stage.cells[0].load else { panic!("blocks") };
        assert_eq!(load.extent, IoExtent::Size { runtime_ns: None });
    }

    #[test]
    fn a_model_is_read_in_every_way_and_warm_at_the_end() {
        let stage = stage("[[storage]]\npath = \"/a\"\nworkload = \"model-load\"\n");
        let ways: Vec<(LoadMethod, u32, bool)> = stage
            .cells
            .iter()
            .map(|cell| match &cell.load {
                StorageLoad::ModelLoad(load) => (load.method, load.readers, load.cold),
                _ => panic!("a load"),
            })
            .collect();
        let cold = [
            (LoadMethod::Mmap, 1),
            (LoadMethod::Pread, 1),
            (LoadMethod::Pread, 8),
            (LoadMethod::Direct, 1),
            (LoadMethod::Direct, 8),
        ];
        let cold = cold.map(|(method, readers)| (method, readers, true));
        assert_eq!(ways, [&cold[..], &[(LoadMethod::Mmap, 1, false)]].concat());
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (text, place, words) in [
            ("", "storage[0].path", "names no path"),
            ("path = \"/a\"\nworkload = \"trim\"", "storage[0].workload", "`trim` is no workload"),
            (
                "path = \"/a\"\ntarget = { seq_rw = \"1MB/s\" }",
                "storage[0].target",
                "does not measure",
            ),
            ("path = \"/a\"\nsize = \"1000\"", "storage[0].size", "no whole number of blocks"),
            ("path = \"/a\"\niodepth = 0", "storage[0].iodepth", "`iodepth` is 0"),
            ("path = \"/a\"\nrwmixread = 101", "storage[0].rwmixread", "is 101"),
            (
                "path = \"/a\"\nworkload = \"checkpoint\"\ncheckpoint = { model = \"gpt\" }",
                "storage[0].checkpoint.model",
                "is no model",
            ),
            (
                "path = \"/a\"\nworkload = \"checkpoint\"\ncheckpoint = { ranks = 3, tensor_parallel = 2 }",
                "storage[0].checkpoint.ranks",
                "no multiple",
            ),
        ] {
            let plan = PlanFile::parse(&format!("[[storage]]\n{text}\n")).expect("it reads");
            let error = plan.resolve(1).expect_err(text);
            assert!(error.key.starts_with(place), "{text}: {}", error.key);
            assert!(error.message.contains(words), "{text}: {}", error.message);
        }
    }
}
