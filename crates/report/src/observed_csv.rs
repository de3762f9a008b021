//! What observers saw of a point, as columns of the CSV of points.

use loadline_schema::document::Point;
use loadline_schema::observed::{HostObserved, PointEnergy, ServerObserved};

use crate::csv::{Column, of_point};

fn server(point: &Point) -> Option<&ServerObserved> {
    point.observed.as_ref()?.server.as_ref()
}

fn host(point: &Point) -> Option<&HostObserved> {
    point.observed.as_ref()?.host.as_ref()
}

fn energy(point: &Point) -> Option<&PointEnergy> {
    point.observed.as_ref()?.energy.as_ref()
}

pub(crate) fn columns() -> Vec<Column> {
    vec![
        of_point("server_running_mean", |point| Some(server(point)?.running?.mean)),
        of_point("server_waiting_mean", |point| Some(server(point)?.waiting?.mean)),
        of_point("server_kv_usage_mean", |point| Some(server(point)?.kv_usage?.mean)),
        of_point("server_kv_usage_max", |point| server(point)?.kv_usage?.max),
        of_point("server_preemptions", |point| server(point)?.preemptions),
        of_point("server_prefix_hit_ratio", |point| server(point)?.prefix_hit_ratio),
        of_point("server_output_tokens", |point| Some(server(point)?.output_tokens?.server)),
        of_point("server_prompt_tokens", |point| Some(server(point)?.prompt_tokens?.server)),
        of_point("server_ttft_mean_ns", |point| {
            Some(server(point)?.outside_server?.server_mean_ns)
        }),
        of_point("outside_server_ns", |point| Some(server(point)?.outside_server?.outside_ns)),
        of_point("cpu_busy", |point| Some(host(point)?.cpu?.busy)),
        of_point("cpu_busiest_core", |point| Some(host(point)?.busiest_core?.1)),
        of_point("cpu_steal", |point| Some(host(point)?.cpu?.steal)),
        of_point("power_w", |point| Some(energy(point)?.watts)),
        of_point("energy_j", |point| Some(energy(point)?.gross.joules)),
        of_point("energy_valid", |point| Some(energy(point)?.gross.valid)),
        of_point("measured_joules_per_output_token", |point| {
            energy(point)?.joules_per_output_token
        }),
        of_point("measured_joules_per_total_token", |point| energy(point)?.joules_per_total_token),
        of_point("measured_joules_per_request", |point| energy(point)?.joules_per_request),
        of_point("measured_net_joules_per_output_token", |point| {
            energy(point)?.net_joules_per_output_token
        }),
    ]
}
