//! `loadline gpu` on machines made of a fake NVML and of files: once, around a command, with a
//! process, and where there is no GPU.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use loadline_testkit::{
    Action, FakeNvml, FaultServer, H100_SCRIPT, RTX_3090_SCRIPT, Reply, exporter_page, mi300x_tree,
    vm_tree,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A machine.
struct Machine {
    dir: tempfile::TempDir,
    nvml: PathBuf,
}

impl Machine {
    fn nvidia(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("nvml");
        std::fs::create_dir(&folder).unwrap();
        let nvml = FakeNvml::new(&folder, script).unwrap().library().to_owned();
        Self { dir, nvml }
    }

    fn tree(grow: fn(&Path) -> std::io::Result<()>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        grow(dir.path()).unwrap();
        let nvml = dir.path().join("libnvidia-ml.so.1");
        Self { dir, nvml }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn script(&self, script: &str) {
        std::fs::write(self.nvml.with_file_name("fake_nvml.conf"), script).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("loadline"));
        command.arg("gpu").arg("--nvml").arg(&self.nvml).arg("--no-dcgmi");
        command.args(["--sys", &self.path("sys"), "--proc", &self.path("proc")]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn gpu(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(arguments).output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, text, words) = self.gpu(&[&["--json"][..], arguments].concat());
        assert_eq!(code, Some(0), "{words}");
        document(&text)
    }

    /// A process in the files of processes.
    fn process(&self, pid: u32, parent: u32) {
        let folder = self.dir.path().join(format!("proc/{pid}"));
        std::fs::create_dir_all(&folder).unwrap();
        let rest = vec!["0"; 17].join(" ");
        std::fs::write(folder.join("stat"), format!("{pid} (x) S {parent} {rest} 7 0\n")).unwrap();
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A document that keeps its contract.
fn document(text: &str) -> Value {
    let json: Value = serde_json::from_str(text).unwrap();
    let schema = include_str!("../../../docs/analysis.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    json
}

fn indices(document: &Value) -> Vec<u64> {
    let gpus = document["gpu"].as_array().unwrap();
    gpus.iter().map(|gpu| gpu["index"].as_u64().unwrap()).collect()
}

#[test]
fn eight_h100_once() {
    let machine = Machine::nvidia(H100_SCRIPT);
    let (code, text, words) = machine.gpu(&[]);
    assert_eq!((code, words.as_str()), (Some(0), ""));
    insta::with_settings!({filters => vec![(r"in \d+ ms", "in [time]")]}, {
        insta::assert_snapshot!(text);
    });

    let document = machine.json(&[]);
    assert_eq!(indices(&document), [0, 1, 2, 3, 4, 5, 6, 7]);
    let gpu = &document["gpu"][7];
    assert_eq!(gpu["samples"], 2);
    assert_eq!(gpu["source"], "nvml");
    assert!(gpu["over_ns"].as_u64().unwrap() >= 200_000_000);
    for field in ["sm_active", "sm_occupancy", "dram_active", "tensor_active", "power_w"] {
        let mean = gpu[field]["mean"].as_f64();
        assert!(mean.is_some_and(|mean| mean > 0.0), "{field}: {gpu}");
    }
    assert_eq!(gpu["throttled_by"]["sw_power_cap"], 1.0);
}

#[test]
fn a_geforce_has_no_activity_and_says_why() {
    let machine = Machine::nvidia(RTX_3090_SCRIPT);
    let document = machine.json(&[]);
    let gpu = &document["gpu"][1];
    assert!(gpu["sm_active"].is_null() && gpu["dram_active"].is_null());
    assert_eq!(gpu["missing"]["sm_active"]["kind"], "unsupported");
    assert!(gpu["others"]["time_active"]["mean"].is_number());
    let (_, text, _) = machine.gpu(&[]);
    assert!(text.contains("says nothing about how much of the GPU was at work"), "{text}");
}

#[test]
fn an_mi300x_by_the_kernels_files() {
    let machine = Machine::tree(mi300x_tree);
    let document = machine.json(&[]);
    let gpu = &document["gpu"][0];
    assert_eq!((&gpu["source"], indices(&document).len()), (&Value::from("amdgpu"), 1));
    assert!(gpu["power_w"]["mean"].as_f64().unwrap() > 100.0);
    assert!(gpu["missing"]["sm_occupancy"]["reason"].is_string());
}

#[test]
fn a_check_tells_what_would_grant_a_field() {
    let denied = format!("{H100_SCRIPT}fail nvmlGpmSampleGet 4\n");
    let machine = Machine::nvidia(&denied);
    let (code, text, words) = machine.gpu(&["--check"]);
    assert_eq!((code, words.as_str()), (Some(0), ""));
    let row = |field: &str| text.lines().find(|line| line.starts_with(field)).unwrap().to_owned();
    assert!(row("sm_active").contains("denied"), "{text}");
    assert!(row("power_w").contains("available"), "{text}");
    assert!(row("module_power_w").contains("unsupported"), "{text}");
    assert!(text.contains("NVreg_RestrictProfilingToAdminUsers=0"), "{text}");
    let document = machine.json(&["--check"]);
    assert!(document["gpu"][0]["missing"]["sm_active"]["grant"].is_string());
}

#[test]
fn a_bare_machine_says_what_was_looked_for() {
    let machine = Machine::tree(vm_tree);
    let (code, text, words) = machine.gpu(&[]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    let (library, drm) = (machine.nvml.display().to_string(), machine.path("sys/class/drm"));
    assert!(words.contains(&library) && words.contains(&drm), "{words}");
    let (code, text, _) = machine.gpu(&["--check"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("no GPU") && text.contains("libnvidia-ml.so.1"), "{text}");
    let (code, text, words) = machine.gpu(&["--", "sh", "-c", "echo out; exit 7"]);
    assert_eq!((code, text.as_str()), (Some(7), "out\n"));
    assert!(words.contains("runs unwatched") && words.contains(&library), "{words}");
}

#[test]
fn a_command_keeps_its_output_and_its_code() {
    let machine = Machine::nvidia(H100_SCRIPT);
    let (code, text, words) = machine.gpu(&["--", "sh", "-c", "echo out; exit 3"]);
    assert_eq!((code, text.as_str()), (Some(3), "out\n"));
    assert!(words.contains("GPUs  ") && words.contains("NVIDIA H100"), "{words}");

    let (code, text, words) = machine.gpu(&["--", "sh", "-c", "kill -9 $$"]);
    assert_eq!((code, text.as_str()), (Some(137), ""), "{words}");

    let file = machine.path("gpu.json");
    let (code, text, words) = machine.gpu(&["--json", "--output", &file, "--", "echo", "out"]);
    assert_eq!((code, text.as_str(), words.as_str()), (Some(0), "out\n", ""));
    assert_eq!(indices(&document(&std::fs::read_to_string(file).unwrap())).len(), 8);
}

#[test]
fn what_fails_is_ours_with_125() {
    let machine = Machine::nvidia(H100_SCRIPT);
    let (code, _, words) = machine.gpu(&["--", "/nowhere/train"]);
    assert_eq!(code, Some(125));
    assert!(words.contains("cannot start /nowhere/train"), "{words}");
    let mark = machine.path("mark");
    let (code, _, words) = machine.gpu(&["--csv", "/nowhere/x.csv", "--", "touch", &mark]);
    assert_eq!(code, Some(125));
    assert!(words.contains("/nowhere/x.csv"), "{words}");
    assert!(!Path::new(&mark).exists(), "nothing was started");
}

/// Starts a command that says when it is there, and sends loadline alone a signal then.
fn signalled(
    machine: &Machine,
    script: &str,
    signal: Signal,
) -> (Option<i32>, Option<i32>, String) {
    let mut command = machine.command(&["--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    out.read_to_string(&mut line).unwrap();
    let status = child.wait().unwrap();
    (status.code(), status.signal(), line)
}

#[test]
fn a_signal_reaches_the_command_whose_end_decides() {
    let machine = Machine::nvidia(H100_SCRIPT);
    // Not SIGINT: a shell ignores it for ever where it was ignored at its start, as behind `&`.
    let told = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let (code, signal, text) = signalled(&machine, told, Signal::SIGTERM);
    assert_eq!((code, signal, text.as_str()), (Some(9), None, "ready\ntold\n"));
    let dies = "echo ready; exec sleep 600";
    let (code, signal, _) = signalled(&machine, dies, Signal::SIGTERM);
    assert_eq!((code, signal), (Some(143), None));
}

#[test]
fn raw_readings_have_dcgmis_words() {
    let machine = Machine::nvidia(H100_SCRIPT);
    let file = machine.path("gpu.csv");
    let (code, _, words) = machine.gpu(&["--for", "300ms", "--interval", "100ms", "--csv", &file]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("watching 8 GPUs"), "{words}");
    let text = std::fs::read_to_string(file).unwrap();
    let (heads, rows) = text.split_once('\n').unwrap();
    let heads: Vec<&str> = heads.split(',').collect();
    for word in ["SMACT", "SMOCC", "TENSO", "DRAMA", "POWER", "TOTEC", "GPUTL"] {
        assert!(heads.contains(&word), "{word} in {heads:?}");
    }
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
    assert!(rows.len() >= 16 && rows.len().is_multiple_of(8), "{}", rows.len());
    assert!(rows.iter().all(|row| row.len() == heads.len()));
    let active = heads.iter().position(|head| *head == "SMACT").unwrap();
    // The last look may come too soon after the one before it for GPM.
    assert!(rows.iter().any(|row| row[active].parse::<f64>().is_ok()), "{text}");
}

#[test]
fn the_gpus_of_a_process() {
    let machine = Machine::nvidia(H100_SCRIPT);
    // The fake has process 4242 on every GPU, and 4243 on GPU 1 alone.
    machine.process(70, 1);
    machine.process(4243, 70);
    let document = machine.json(&["--pid", "70", "--for", "200ms", "--interval", "100ms"]);
    assert_eq!(indices(&document), [1]);
    let (_, text, _) = machine.gpu(&["--pid", "70", "--for", "100ms"]);
    assert!(text.contains("Process 70 and its children held 1 GiB on GPU 1"), "{text}");

    machine.process(71, 1);
    let document = machine.json(&["--pid", "71", "--for", "100ms"]);
    assert_eq!(indices(&document).len(), 8);
    assert_eq!(document["warnings"][0]["code"], "gpu_process_unseen");
    let (code, _, words) = machine.gpu(&["--pid", "72"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("no process 72"), "{words}");
}

#[test]
fn the_end_of_a_process_ends_the_watching() {
    let machine = Machine::nvidia(H100_SCRIPT);
    machine.process(4242, 1);
    let mut command = machine.command(&["--pid", "4242"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("watching 8 GPUs"), "{line}");
    std::fs::remove_dir_all(machine.path("proc/4242")).unwrap();
    let (code, text, _) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(0));
    assert!(text.contains("Process 4242"), "{text}");
}

#[test]
fn ctrl_c_ends_and_shows() {
    let machine = Machine::nvidia(H100_SCRIPT);
    let mut command = machine.command(&["--for", "10m"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let (code, text, _) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(6));
    assert!(text.contains("NVIDIA H100"), "{text}");
}

#[test]
fn an_exporter_that_was_named_is_read_alone() {
    let page = Reply::new("200 OK", "text/plain").piece(exporter_page(2, false)).bytes();
    let server = FaultServer::start(Action::answer_once(page));
    let machine = Machine::nvidia(H100_SCRIPT);
    let document = machine.json(&["--exporter", &format!("{}/metrics", server.url())]);
    assert_eq!(indices(&document), [0, 1]);
    assert_eq!(document["gpu"][0]["source"], "dcgm_exporter");
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.target() == "/metrics") && !requests.is_empty());
    let url = server.url();
    drop(server);
    let (code, _, words) = machine.gpu(&["--exporter", &url]);
    assert_eq!(code, Some(3));
    assert!(words.contains("cannot reach"), "{words}");
}

#[test]
fn a_gpu_that_falls_off_the_bus_is_told() {
    let machine = Machine::nvidia("gpus 1\n");
    let mut command = machine.command(&["--for", "10m", "--interval", "20ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    // From here on every look finds it gone; the last look, after Ctrl-C, is one of them.
    machine.script("gpus 1\nfail nvmlDeviceGetHandleByIndex_v2 15\n");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let (code, text, _) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(6));
    let document = document(&text);
    assert_eq!(document["gpu"][0]["name"], "NVIDIA H100 80GB HBM3");
    let warning = &document["warnings"][0];
    assert_eq!(warning["code"], "gpu_gone");
    assert!(warning["message"].as_str().unwrap().contains("fell off the bus"), "{warning}");
}

#[test]
fn a_driver_that_refuses_is_told_with_what_to_do() {
    let machine = Machine::nvidia("fail nvmlInit_v2 4\n");
    let (code, text, words) = machine.gpu(&[]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    assert!(words.contains("as root") && words.contains("/dev/nvidia"), "{words}");
    assert!(words.lines().all(|line| line.chars().count() <= 80), "{words}");
    let machine = Machine::nvidia("fail nvmlDeviceGetCount_v2 999\n");
    // The driver is there and gives nothing: a fault of the machine.
    let (code, text, _) = machine.gpu(&["--for", "100ms"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("NVML gave nothing") && text.contains("DeviceGetCount_v2"), "{text}");
}

#[test]
fn the_processes_that_the_driver_does_not_tell() {
    let machine = Machine::nvidia("gpus 2\nfail nvmlDeviceGetComputeRunningProcesses_v3 4\n");
    machine.process(70, 1);
    let document = machine.json(&["--pid", "70", "--for", "100ms"]);
    assert_eq!(indices(&document), [0, 1]);
    let warning = document["warnings"][0]["message"].as_str().unwrap();
    assert!(warning.contains("nvmlDeviceGetComputeRunningProcesses_v3"), "{warning}");
}

#[test]
fn gpus_of_both_vendors_are_told_apart() {
    let machine = Machine::nvidia(RTX_3090_SCRIPT);
    mi300x_tree(machine.dir.path()).unwrap();
    let gpus = machine.json(&[]);
    let gpus = gpus["gpu"].as_array().unwrap();
    let told: Vec<_> = gpus
        .iter()
        .map(|gpu| (gpu["source"].as_str().unwrap(), gpu["index"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("nvml", 0), ("nvml", 1), ("amdgpu", 0)]);
    let watts = |gpu: &Value| gpu["power_w"]["mean"].as_f64().unwrap();
    assert!((watts(&gpus[2]) - 512.0).abs() < 1.0 && watts(&gpus[0]) < 400.0);
    let (code, text, words) = machine.gpu(&[]);
    assert_eq!(code, Some(0), "{words}");
    assert!(text.contains("amd0"), "{text}");
}
