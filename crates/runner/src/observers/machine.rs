//! The hardware beside the load: GPUs, meters of power, the host.

use std::net::UdpSocket;

use loadline_clock::RunClock;
use loadline_observe::gpu::{GpuReader, GpuRoots, NvmlSettings, check, open};
use loadline_observe::host::{self, Roots};
use loadline_observe::power::{Hwmon, PowerSensor, Rapl, SensorFigure};
use loadline_observe::rows::{gpu_rows, host_rows};
use loadline_schema::gpu::{GpuField, GpuReading, GpuSource, Missing, MissingKind};
use loadline_schema::observe::{GpuChoice, Meter, ObservePlan, ObserverKind, Observing};
use loadline_serving::socket::Address;

use super::metrics::Pages;
use super::{Course, Hardware, Look, Observers, Seen, at};

/// Whether an address is one of this machine's own.
pub(crate) fn is_here(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        // Only an own address can be listened on.
        Address::Ip(address) => UdpSocket::bind((address.ip(), 0)).is_ok(),
    }
}

/// What of the hardware is there, opened.
#[derive(Default)]
pub(crate) struct Machine {
    gpus: Vec<Box<dyn GpuReader>>,
    meters: Option<Meters>,
    host: Option<Roots>,
}

impl Machine {
    /// Opens what the plan wants and tells what there is. Hardware that is missing is no error.
    pub(crate) fn open(
        plan: &ObservePlan,
        hardware: &Hardware,
        pages: &Pages,
        clock: RunClock,
        observing: &mut Observing,
    ) -> Self {
        let mut machine = Self::default();
        let elsewhere = || {
            let reason = "the target runs on another machine, whose hardware is out of sight here";
            Missing::new(MissingKind::Unavailable, reason)
        };
        match (&plan.gpu, observing.is_here) {
            (GpuChoice::Off, _) => {}
            (GpuChoice::Auto, false) => {
                let reason =
                    "the target runs on another machine: give the URL of its dcgm-exporter";
                let missing = Missing::new(MissingKind::Unavailable, reason);
                observing.missing.push((ObserverKind::Gpu, missing));
            }
            _ => machine.open_gpus(plan, hardware, pages, clock, observing),
        }
        match (plan.power, observing.is_here) {
            (false, _) => {}
            (true, false) => observing.missing.push((ObserverKind::Power, elsewhere())),
            (true, true) => {
                let (meters, missing) = Meters::open(&hardware.roots);
                observing.meters = meters.iter().flat_map(|m| m.told.iter().cloned()).collect();
                machine.meters = meters;
                let missing = missing.into_iter().map(|one| (ObserverKind::Power, one));
                observing.missing.extend(missing);
            }
        }
        if plan.host {
            observing.host = true;
            machine.host = Some(hardware.roots.clone());
        }
        machine
    }

    fn open_gpus(
        &mut self,
        plan: &ObservePlan,
        hardware: &Hardware,
        pages: &Pages,
        clock: RunClock,
        observing: &mut Observing,
    ) {
        let roots = GpuRoots {
            nvml: hardware.nvml.clone(),
            nvml_settings: NvmlSettings::default(),
            exporter: None,
            dcgmi: hardware.dcgmi.clone(),
            interval_ms: u32::try_from(plan.interval_ns / 1_000_000).unwrap_or(u32::MAX),
            sys: hardware.roots.sys.clone(),
        };
        let mut passed = Vec::new();
        let readers = match &pages.exporter {
            Some(page) => {
                let page = page.clone();
                let fetch = Box::new(move || page.fetch());
                vec![Box::new(loadline_observe::gpu::DcgmExporter::new(fetch)) as Box<dyn GpuReader>]
            }
            None => {
                let opened = open(roots, clock);
                let tried = opened.passed_over.into_iter();
                // None was named, so that there is nothing to say about it.
                let tried = tried.filter(|one| one.source != GpuSource::DcgmExporter);
                passed.extend(tried.map(|one| format!("{}: {}", one.source, one.reason)));
                opened.readers
            }
        };
        for mut reader in readers {
            let found = check(reader.as_mut(), &clock);
            let wanted =
                |reading: &GpuReading| plan.gpus.is_empty() || plan.gpus.contains(&reading.index);
            let found = found.map(|all| all.into_iter().filter(wanted).collect::<Vec<_>>());
            match found {
                Ok(readings) if readings.is_empty() => {
                    passed.push(format!("{}: none of the GPUs asked for", reader.source()));
                }
                Ok(readings) => {
                    observing.gpus.extend(readings);
                    self.gpus.push(reader);
                }
                Err(error) => passed.push(error.to_string()),
            }
        }
        if self.gpus.is_empty() {
            let missing = Missing::new(MissingKind::Unavailable, passed.join("; "));
            observing.missing.push((ObserverKind::Gpu, missing));
        }
    }

    /// Whether energy or power is among what can be read.
    pub(crate) fn has_meter(&self, observing: &Observing) -> bool {
        let fields = [GpuField::EnergyJ, GpuField::PowerW];
        let of_gpus = observing.gpus.iter().any(|gpu| fields.iter().any(|f| gpu.get(*f).is_some()));
        of_gpus || self.meters.is_some()
    }

    /// Starts its observers.
    pub(crate) fn start(self, observing: &Observing, observers: &mut Observers, course: &Course) {
        if !self.gpus.is_empty() {
            let wanted = observing.gpus.clone();
            let look = Box::new(Gpus { readers: self.gpus, wanted });
            observers.add(ObserverKind::Gpu, ObserverKind::Gpu.to_string(), look, course);
        }
        if let Some(meters) = self.meters {
            let source = ObserverKind::Power.to_string();
            observers.add(ObserverKind::Power, source, Box::new(meters), course);
        }
        if let Some(roots) = self.host {
            let source = ObserverKind::Host.to_string();
            observers.add(ObserverKind::Host, source, Box::new(Host(roots)), course);
        }
    }
}

struct Gpus {
    readers: Vec<Box<dyn GpuReader>>,
    wanted: Vec<GpuReading>,
}

impl Look for Gpus {
    fn look(&mut self, now_ns: u64, _: bool) -> Result<Seen, String> {
        let mut seen = Seen::default();
        let mut failure = None;
        for reader in &mut self.readers {
            match reader.read(now_ns) {
                Ok(readings) => {
                    let is_wanted = |one: &&GpuReading| {
                        self.wanted.iter().any(|known| known.part() == one.part())
                    };
                    let wanted = readings.iter().filter(is_wanted);
                    for reading in wanted {
                        // A GPU that is lost gives a reading without anything in it.
                        if reading.values.is_empty() {
                            failure = Some(format!("GPU {}: no figure", reading.label()));
                        }
                        // Sources that stream bring readings of earlier moments.
                        seen.rows.extend(at(reading.at_ns, gpu_rows(reading)));
                    }
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        match failure {
            Some(why) if seen.rows.is_empty() => Err(why),
            partial => Ok(Seen { partial, ..seen }),
        }
    }
}

/// Counters of processors, and sensors that belong to no GPU.
struct Meters {
    rapl: Option<Rapl>,
    sensors: Vec<PowerSensor>,
    told: Vec<Meter>,
}

impl Meters {
    /// What there is, and why there is no more.
    fn open(roots: &Roots) -> (Option<Self>, Vec<Missing>) {
        let mut missing = Vec::new();
        let rapl = Rapl::open(&roots.sys).map_err(|why| missing.push(why)).ok();
        let all = match Hwmon::open(&roots.sys) {
            Ok(hwmon) => hwmon.sensors().to_vec(),
            Err(why) => {
                missing.push(why);
                Vec::new()
            }
        };
        // GPUs are read elsewhere.
        let sensors: Vec<PowerSensor> = all.into_iter().filter(|sensor| !sensor.is_gpu).collect();
        if rapl.is_none() && sensors.is_empty() {
            return (None, missing);
        }
        let zones = rapl.iter().flat_map(Rapl::zones).map(|zone| Meter {
            series: format!("energy_j{{zone=\"{}\"}}", zone.id),
            name: zone.name.clone(),
            is_counter: true,
            counted: zone.counted,
            is_whole: false,
            wraps_at_j: (zone.max_energy_range_uj > 0)
                .then_some(zone.max_energy_range_uj as f64 / 1e6),
        });
        let of_sensor = |sensor: &PowerSensor| Meter {
            series: sensor_series(sensor),
            name: format!("{} {}", sensor.chip, sensor.label),
            is_counter: sensor.figure == SensorFigure::Energy,
            // What a board's sensor has in it, its maker knows: it is told, and not added.
            counted: false,
            // ACPI's power meter: the whole chassis.
            is_whole: sensor.chip == "power_meter",
            wraps_at_j: None,
        };
        let told = zones.chain(sensors.iter().map(of_sensor)).collect();
        (Some(Self { rapl, sensors, told }), missing)
    }
}

fn sensor_series(sensor: &PowerSensor) -> String {
    let what = if sensor.figure == SensorFigure::Energy { "energy_j" } else { "power_w" };
    format!("{what}{{chip=\"{}\",sensor=\"{}\"}}", sensor.chip, sensor.label)
}

impl Look for Meters {
    fn look(&mut self, now_ns: u64, _: bool) -> Result<Seen, String> {
        let mut rows = Vec::new();
        let mut failure = None;
        if let Some(rapl) = &self.rapl {
            let reading = rapl.read(now_ns);
            for (meter, value) in self.told.iter().zip(reading.energy_uj) {
                match value {
                    Ok(micro) => rows.push((meter.series.clone(), micro as f64 / 1e6)),
                    Err(missing) => failure = Some(missing.reason),
                }
            }
        }
        for sensor in &self.sensors {
            match sensor.read() {
                Ok(value) => rows.push((sensor_series(sensor), value)),
                Err(missing) => failure = Some(missing.reason),
            }
        }
        match failure {
            Some(why) if rows.is_empty() => Err(why),
            partial => Ok(Seen { rows: at(now_ns, rows), is_busy: false, partial }),
        }
    }
}

struct Host(Roots);

impl Look for Host {
    fn look(&mut self, now_ns: u64, _: bool) -> Result<Seen, String> {
        let rows = host_rows(&host::read(&self.0, now_ns));
        if rows.is_empty() {
            return Err(format!("nothing of the host can be read in {}", self.0.proc.display()));
        }
        Ok(Seen { rows: at(now_ns, rows), ..Seen::default() })
    }
}
