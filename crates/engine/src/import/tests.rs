//! Stored results of the real tools, and what is no result.

use std::fmt::Write;

use proptest::prelude::*;

use loadline_schema::engine::FlashAttention;

use super::*;

const JSON: &[u8] = include_bytes!("../../tests/fixtures/llama-bench.json");
const SWEEP: &[u8] = include_bytes!("../../tests/fixtures/llama-bench-sweep.jsonl");
const CSV: &[u8] = include_bytes!("../../tests/fixtures/llama-bench.csv");
const MARKDOWN_TABLE: &[u8] = include_bytes!("../../tests/fixtures/llama-bench.md");
const SQL_SCRIPT: &[u8] = include_bytes!("../../tests/fixtures/llama-bench.sql");
const BATCHED: &[u8] = include_bytes!("../../tests/fixtures/batched-bench.jsonl");
const BATCHED_TABLE: &[u8] = include_bytes!("../../tests/fixtures/batched-bench.md");
const FROM_NOTHING: &[u8] = include_bytes!("../../tests/fixtures/batched-bench-from-nothing.jsonl");

/// One line for each fact, cell and remark.
fn shown(imported: &[Imported]) -> String {
    let mut text = String::new();
    for one in imported {
        let facts = &one.facts;
        writeln!(text, "{} {:?} {:?}", facts.measured_by, facts.version, facts.build).unwrap();
        for device in &facts.devices {
            writeln!(text, "  device {}: {}", device.name, device.description).unwrap();
        }
        let model = &facts.model;
        writeln!(
            text,
            "  model {:?} {:?} {:?} {:?} parameters, {:?} bytes",
            model.name,
            model.architecture,
            model.quantization,
            model.parameters,
            model.weight_bytes
        )
        .unwrap();
        for (cell, trials) in &one.cells {
            let EngineCell { batch, context, prompt_tokens: p, output_tokens: n, .. } = cell;
            let EngineCell { threads: t, gpu_layers, n_batch, n_ubatch, .. } = cell;
            let (fa, k, v) = (cell.flash_attention, &cell.type_k, &cell.type_v);
            writeln!(
                text,
                "  batch {batch} context {context} p {p} n {n} t {t} ngl {gpu_layers} \
                 b {n_batch} ub {n_ubatch} fa {fa:?} {k} {v}"
            )
            .unwrap();
            for trial in trials {
                let (prompt, decode) = (trial.prompt_ns, trial.decode_ns);
                let (p, n) = (trial.prompt_tokens, trial.decode_tokens);
                writeln!(text, "    {p} in {prompt:?} ns, {n} in {decode:?} ns").unwrap();
            }
        }
        one.notes.iter().for_each(|note| writeln!(text, "  note: {note}").unwrap());
        one.skipped.iter().for_each(|row| writeln!(text, "  skipped: {row}").unwrap());
    }
    text
}

#[test]
fn llama_bench_json() {
    insta::assert_snapshot!(shown(&import(JSON).unwrap()));
}

#[test]
fn llama_bench_jsonl() {
    insta::assert_snapshot!(shown(&import(SWEEP).unwrap()));
}

#[test]
fn llama_bench_csv() {
    insta::assert_snapshot!(shown(&import(CSV).unwrap()));
}

#[test]
fn batched_bench_jsonl() {
    insta::assert_snapshot!(shown(&import(BATCHED).unwrap()));
}

#[test]
fn batched_bench_without_a_prompt() {
    insta::assert_snapshot!(shown(&import(FROM_NOTHING).unwrap()));
}

#[test]
fn batched_bench_table() {
    insta::assert_snapshot!(shown(&import(BATCHED_TABLE).unwrap()));
}

/// A row of llama-bench with some fields replaced.
fn row(changes: &[(&str, &str)]) -> String {
    let fields = [
        ("model_filename", "\"m.gguf\""),
        ("n_batch", "2048"),
        ("n_ubatch", "512"),
        ("n_threads", "2"),
        ("type_k", "\"f16\""),
        ("type_v", "\"f16\""),
        ("n_gpu_layers", "0"),
        ("flash_attn", "-1"),
        ("n_prompt", "64"),
        ("n_gen", "0"),
        ("n_depth", "0"),
        ("avg_ns", "100"),
        ("samples_ns", "[90, 110]"),
    ];
    let of =
        |name: &str| changes.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
    let mut words: Vec<String> = fields
        .iter()
        .map(|(name, value)| (name, of(name).unwrap_or(value)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    let is_new = |name: &str| fields.iter().all(|(known, _)| *known != name);
    let new = changes.iter().filter(|(name, _)| is_new(name));
    words.extend(new.map(|(name, value)| format!("\"{name}\": {value}")));
    format!("{{{}}}\n", words.join(", "))
}

#[test]
fn wrong_files_say_where_and_what() {
    let sweep = String::from_utf8(SWEEP.to_vec()).unwrap();
    let csv = String::from_utf8(CSV.to_vec()).unwrap();
    let table = String::from_utf8(BATCHED_TABLE.to_vec()).unwrap();
    let batched = String::from_utf8(BATCHED.to_vec()).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("blank", b" \n\n".to_vec()),
        ("text", b"Hello,\nworld\n".to_vec()),
        ("binary", vec![0, 159, 146, 150, 10, 7]),
        ("GGUF", b"GGUF\x03\0\0\0".to_vec()),
        ("no UTF-8", b"{\"n_prompt\": \"\xff\"}\n".to_vec()),
        ("Markdown", MARKDOWN_TABLE.to_vec()),
        ("SQL", SQL_SCRIPT.to_vec()),
        ("json cut short", JSON[..JSON.len() / 2].to_vec()),
        ("json, no rows", b"[\n]\n".to_vec()),
        ("json of numbers", b"[{}, 1]".to_vec()),
        ("json of something else", b"[{\"a\": 1}]".to_vec()),
        ("jsonl cut short", sweep[..sweep.len() - 40].into()),
        ("jsonl of something else", b"{\"id\": 1}\n".to_vec()),
        ("one object over several lines", b"{\n  \"n_prompt\": 1\n}\n".to_vec()),
        ("csv cut short", csv[..csv.len() - 60].into()),
        ("csv, no rows", csv.lines().next().unwrap().into()),
        ("csv, a negative time", csv.replace("\"166607046\"", "\"-166607046\"").into()),
        ("table without settings", table[table.find("|    PP").unwrap()..].into()),
        ("table cut short", table[..table.trim_end().len() - 20].into()),
        ("table without rows", table[..table.find("|   128").unwrap()].into()),
        ("another table", b"| PP | TG | T_PP s |\n".to_vec()),
        ("batched, NaN", batched.replace("\"t_tg\": 1.876502", "\"t_tg\": -nan").into()),
        ("batched, negative", batched.replace("\"t_pp\": 1.757390", "\"t_pp\": -1.7").into()),
        ("batched, endless", batched.replace("\"t_pp\": 1.757390", "\"t_pp\": 1e300").into()),
        ("a negative sample", row(&[("samples_ns", "[5, -5]")]).into()),
        ("a sample of 0", row(&[("samples_ns", "[0]")]).into()),
        ("a broken sample", row(&[("samples_ns", "[1.5]")]).into()),
        ("a sample that is NaN", row(&[("samples_ns", "[nan]")]).into()),
        ("no sample", row(&[("samples_ns", "[]")]).into()),
        ("no time", row(&[("samples_ns", ""), ("avg_ns", "")]).into()),
        ("a mean of NaN", row(&[("samples_ns", ""), ("avg_ns", "nan")]).into()),
        ("no threads", row(&[("n_threads", "")]).into()),
        ("a count below 0", row(&[("n_threads", "-2")]).into()),
        ("a huge count", row(&[("n_depth", "99999999999")]).into()),
        ("flash attention", row(&[("flash_attn", "7")]).into()),
        ("a list", row(&[("n_batch", "[1]")]).into()),
        ("nothing timed", row(&[("n_prompt", "0")]).into()),
        ("only -pg rows", row(&[("n_gen", "4")]).into()),
    ];
    let line = |(name, bytes): (&str, Vec<u8>)| match import(&bytes) {
        Ok(imported) => panic!("{name} was read: {imported:?}"),
        Err(error) => format!("{name}: {error}"),
    };
    let errors: Vec<String> = cases.into_iter().map(line).collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn prompt_and_generation_merge_and_the_rest_stays_alone() {
    let rows = [
        row(&[]),
        row(&[("n_prompt", "128")]),
        row(&[("n_prompt", "0"), ("n_gen", "8"), ("samples_ns", "[7, 8, 9]")]),
        row(&[("n_prompt", "0"), ("n_gen", "8"), ("n_depth", "256")]),
        row(&[("n_gen", "8")]),
        row(&[("samples_ns", "[95]")]),
    ];
    insta::assert_snapshot!(shown(&import(rows.concat().as_bytes()).unwrap()));
}

#[test]
fn settings_that_no_cell_has_keep_rows_apart() {
    let rows = [row(&[("n_cpu_moe", "0")]), row(&[("n_cpu_moe", "4")]), row(&[("n_cpu_moe", "0")])];
    let imported = import(rows.concat().as_bytes()).unwrap();
    let trials: Vec<usize> = imported.iter().map(|one| one.cells[0].1.len()).collect();
    assert_eq!(trials, [4, 2]);
    assert_eq!(imported[1].notes, ["kept apart from other rows of the file: n_cpu_moe = 4"]);
}

#[test]
fn layers_on_the_gpu_are_as_written_or_decided_by_the_engine() {
    let layers = |changes: &[(&str, &str)]| {
        import(row(changes).as_bytes()).unwrap()[0].cells[0].0.gpu_layers
    };
    assert_eq!(layers(&[("n_gpu_layers", "99")]), 99);
    assert_eq!(layers(&[("n_gpu_layers", "-1"), ("gpu_info", "\"\"")]), 0);
    let auto = EngineCell::AUTO;
    assert_eq!(layers(&[("n_gpu_layers", "-1"), ("gpu_info", "\"A100\"")]), auto);
    assert_eq!(layers(&[("n_gpu_layers", "-1")]), auto);
}

#[test]
fn rows_of_older_builds_are_read() {
    let old = row(&[("flash_attn", "true"), ("n_depth", "")]);
    let cell = &import(old.as_bytes()).unwrap()[0].cells[0].0;
    assert_eq!((cell.context, cell.flash_attention), (0, FlashAttention::On));
}

#[test]
fn rows_that_are_no_batch_are_left_out() {
    let shared = String::from_utf8(BATCHED.to_vec()).unwrap();
    let shared = shared.replacen("\"is_pp_shared\": 0", "\"is_pp_shared\": 1", 1);
    let imported = import(shared.as_bytes()).unwrap();
    assert_eq!(imported[0].skipped, ["1 row with one prompt for all sequences (-pps)"]);
    let separate = String::from_utf8(BATCHED_TABLE.to_vec()).unwrap();
    let separate = separate.replace("is_tg_separate = 0", "is_tg_separate = 1");
    let error = import(separate.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("3 rows with one sequence after the other"), "{error}");
}

#[test]
fn messages_between_the_rows_are_counted() {
    let text = format!("load: token\n\n{}warning: x\n{}", row(&[]), row(&[]));
    let imported = import(text.as_bytes()).unwrap();
    assert_eq!(imported[0].skipped, ["2 lines of messages between the rows"]);
    let array = [b"warning: [x]\n".as_slice(), JSON, b"\nreal 0m9s\n"].concat();
    assert_eq!(import(&array).unwrap(), import(JSON).unwrap());
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    for bytes in [JSON, SWEEP, CSV, BATCHED, BATCHED_TABLE] {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(import(windows.as_bytes()).unwrap(), import(bytes).unwrap());
    }
}

/// Lines of JSON in chunks of these lengths, over and over.
fn chunked(bytes: &[u8], lengths: &[usize]) -> Result<Vec<Imported>, ImportError> {
    let mut lines = JsonLines::default();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        let (chunk, after) = rest.split_at(rest.len().min(*length));
        lines.push(chunk)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    lines.finish()
}

proptest! {
    #[test]
    fn chunks_change_nothing(lengths in prop::collection::vec(1_usize..900, 1..20), cut in 0_usize..30000) {
        for bytes in [SWEEP, BATCHED, FROM_NOTHING] {
            let bytes = &bytes[..cut.min(bytes.len())];
            prop_assert_eq!(chunked(bytes, &lengths), chunked(bytes, &[usize::MAX]));
        }
    }

    #[test]
    fn changed_files_do_not_panic(
        which in 0_usize..7, at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..12)
    ) {
        let whole = [JSON, SWEEP, CSV, BATCHED, BATCHED_TABLE, FROM_NOTHING, MARKDOWN_TABLE][which];
        let at = at.index(whole.len());
        let end = (at + bytes.len()).min(whole.len());
        let changed = [&whole[..at], &bytes, &whole[end..]].concat();
        if let Err(error) = import(&changed) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_does_not_panic(text in "[\\[{|]?.{0,200}") {
        let _ = import(text.as_bytes());
    }
}
