//! What the system allows: open files and local ports, checked against the plan before the start.

use loadline_schema::plan::{Find, Load, ServingStage};
use loadline_serving::socket::Address;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::RunError;

/// Files that the program itself keeps open, with room to spare.
const OWN_FILES: u64 = 64;
/// In-flight limit of an open loop where the plan names none.
const DEFAULT_IN_FLIGHT: u64 = 10_000;

/// What is left for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// By open files.
    pub files: u64,
    /// Local ports towards one address.
    pub ports: u64,
}

impl Limits {
    /// What the system allows this process, after raising its soft limit of open files as far as
    /// it may.
    pub fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where this is refused the soft limit stays, and is what counts.
        let _ = setrlimit(Resource::Nofile, raised);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { files: files.saturating_sub(OWN_FILES), ports: local_ports() }
    }

    /// Most connections to these addresses together.
    pub fn connections(&self, addresses: &[&Address]) -> u64 {
        let all_tcp = addresses.iter().all(|address| matches!(address, Address::Ip(_)));
        let ports =
            if all_tcp { self.ports.saturating_mul(addresses.len() as u64) } else { u64::MAX };
        self.files.min(ports)
    }

    /// The in-flight limit of an open loop.
    pub fn in_flight(&self, stage: &ServingStage, addresses: &[&Address]) -> u64 {
        stage.max_in_flight.unwrap_or(DEFAULT_IN_FLIGHT).min(self.connections(addresses))
    }
}

/// Makes room in the process's table of open files for so many connections. To be called while the
/// process has one thread: later each doubling of the table waits until every core has passed
/// through the kernel's scheduler, some milliseconds that would go before the first request.
pub fn reserve_files(connections: u64) {
    let limit = Limits::raise().files;
    let last = connections.min(limit).saturating_add(OWN_FILES / 2).min(i32::MAX as u64);
    // The table keeps its size when the copy is closed; where this fails it grows as it always did.
    if let Ok(file) = std::fs::File::open("/dev/null") {
        drop(rustix::io::fcntl_dupfd_cloexec(&file, last as i32));
    }
}

/// Checks that a stage's streams fit.
///
/// # Errors
/// The stage needs more connections than the system allows; the message says which limit and how
/// to raise it.
pub fn check_limits(
    limits: &Limits,
    stage: &ServingStage,
    addresses: &[&Address],
) -> Result<(), RunError> {
    let most = stage.points.iter().map(|point| match *point {
        Load::Closed { concurrency } => concurrency,
        Load::Burst { requests } => requests,
        Load::Open { .. } => stage.max_in_flight.unwrap_or(0),
    });
    let searched = match stage.find {
        Some(Find::Concurrency { max }) => max.unwrap_or(1),
        Some(Find::Rate { .. }) => stage.max_in_flight.unwrap_or(1),
        None => 0,
    };
    let needed = most.max().unwrap_or(0).max(searched);
    if needed <= limits.connections(addresses) {
        return Ok(());
    }
    let (files, ports) = (limits.files, limits.ports);
    Err(RunError::Limits(if needed > files {
        format!(
            "{needed} streams need as many open files, and this process may open {files}: raise the \
             limit with `ulimit -n {}` (as root, or in /etc/security/limits.conf)",
            needed + OWN_FILES
        )
    } else {
        format!(
            "{needed} streams need as many local ports, and there are {ports} for each address: \
             widen them with `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`, or give several \
             endpoints"
        )
    }))
}

fn local_ports() -> u64 {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = text.split_whitespace().filter_map(|part| part.parse::<u64>().ok());
    match (bounds.next(), bounds.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        // The kernel's default.
        _ => 28_232,
    }
}

#[cfg(test)]
mod tests {
    use loadline_schema::plan_file::{PlanFile, ServingFile};

    use super::*;

    fn stage(concurrency: u64) -> ServingStage {
        let mut file =
            ServingFile { endpoint: vec!["http://h:1".to_owned()], ..Default::default() };
        file.load.concurrency = Some(vec![1, concurrency]);
        let plan = PlanFile::of_stage(file).resolve(1).expect("valid");
        plan.stages[0].serving().expect("a serving stage").clone()
    }

    #[test]
    fn streams_beyond_files_or_ports_are_refused_with_the_remedy() {
        let limits = Limits { files: 100, ports: 50 };
        let ip = Address::Ip("127.0.0.1:1".parse().expect("address"));
        let unix = Address::Unix("/s".into());
        assert!(check_limits(&limits, &stage(50), &[&ip]).is_ok());
        assert!(check_limits(&limits, &stage(100), &[&ip, &ip]).is_ok());
        assert!(check_limits(&limits, &stage(100), &[&unix]).is_ok(), "unix sockets need no port");
        let ports = check_limits(&limits, &stage(51), &[&ip]).expect_err("ports").to_string();
        assert!(ports.contains("ip_local_port_range"), "{ports}");
        let files = check_limits(&limits, &stage(101), &[&unix]).expect_err("files").to_string();
        assert!(files.contains("ulimit -n 165"), "{files}");
    }

    #[test]
    fn the_table_of_open_files_is_large_enough_beforehand() {
        let room = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("status");
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
            line.and_then(|size| size.trim().parse::<u64>().ok()).expect("FDSize")
        };
        let wanted = 500.min(Limits::raise().files);
        reserve_files(wanted);
        assert!(room() >= wanted, "{} for {wanted}", room());
    }

    #[test]
    fn this_machine_has_limits() {
        let limits = Limits::raise();
        assert!(limits.files > 0 && limits.ports > 0);
    }
}
