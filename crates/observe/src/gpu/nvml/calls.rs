//! Calls that the wrapper does not have, and what NVML's errors mean for a field.

use loadline_schema::gpu::{Missing, MissingKind};
use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::nvmlFieldValue_t;

/// Opens the profiling counters to every user, from the next start of the driver on.
const PROFILING_GRANT: &str = "echo 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' | \
                               sudo tee /etc/modprobe.d/nvidia-profiling.conf && sudo reboot";
/// Anything else that root may do.
const ROOT_GRANT: &str = "sudo loadline gpu --check";

/// Scope of a field value that means all links.
pub(super) const ALL_LINKS: u32 = u32::MAX;

/// The result of a call, with its error turned into the reason of a missing field.
pub(super) fn asked<T>(function: &str, result: Result<T, NvmlError>) -> Result<T, Missing> {
    result.map_err(|error| missing(function, &error))
}

/// Why a call gave nothing.
pub(super) fn missing(function: &str, error: &NvmlError) -> Missing {
    match error {
        NvmlError::NotSupported => Missing::new(
            MissingKind::Unsupported,
            format!("{function}: this GPU or its driver does not support it"),
        ),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Missing::new(
            MissingKind::Unsupported,
            format!("{function}: the driver's library does not have it; a newer driver may"),
        ),
        NvmlError::NoPermission if function.starts_with("nvmlGpm") => Missing::denied(
            format!("{function}: profiling counters are for administrators on this machine"),
            PROFILING_GRANT,
        ),
        NvmlError::NoPermission => {
            Missing::denied(format!("{function}: this user may not"), ROOT_GRANT)
        }
        NvmlError::NoData => Missing::new(MissingKind::Unavailable, format!("{function}: {error}")),
        other => Missing::new(MissingKind::Failed, format!("{function}: {other}")),
    }
}

/// Clock event reasons with all their bits: the wrapper's type drops those that it does not know.
pub(super) fn throttle_bits(device: &Device<'_>) -> Result<u64, NvmlError> {
    let library = device.nvml().lib();
    let call = nvml_sym(library.nvmlDeviceGetCurrentClocksThrottleReasons.as_ref())?;
    let mut bits = 0;
    #[expect(unsafe_code, reason = "the wrapper has no call that keeps unknown bits")]
    // SAFETY: the handle belongs to this open library, and `bits` lives through the call.
    nvml_try(unsafe { call(device.handle(), &raw mut bits) })?;
    Ok(bits)
}

/// The id under which GPM knows a MIG instance.
pub(super) fn gpu_instance_id(device: &Device<'_>) -> Result<u32, Missing> {
    let library = device.nvml().lib();
    let mut id = 0;
    let call = nvml_sym(library.nvmlDeviceGetGpuInstanceId.as_ref());
    let done = call.and_then(|call| {
        #[expect(unsafe_code, reason = "the wrapper does not have this call")]
        // SAFETY: the handle belongs to this open library, and `id` lives through the call.
        nvml_try(unsafe { call(device.handle(), &raw mut id) })
    });
    asked("nvmlDeviceGetGpuInstanceId", done).map(|()| id)
}

/// Field values by id and scope (the wrapper cannot set a scope), each with its own result.
pub(super) fn field_values<const N: usize>(
    device: &Device<'_>,
    wanted: [(u32, u32); N],
) -> [Result<f64, Missing>; N] {
    const FUNCTION: &str = "nvmlDeviceGetFieldValues";
    let library = device.nvml().lib();
    #[expect(unsafe_code, reason = "a C struct of numbers, which the bindings give no default")]
    // SAFETY: all of its members are numbers (or a union of them), for which zero is a value.
    let mut values: [nvmlFieldValue_t; N] = unsafe { std::mem::zeroed() };
    for (value, (id, scope)) in values.iter_mut().zip(wanted) {
        value.fieldId = id;
        value.scopeId = scope;
    }
    let done = nvml_sym(library.nvmlDeviceGetFieldValues.as_ref()).and_then(|call| {
        #[expect(unsafe_code, reason = "the wrapper's call cannot set a scope")]
        // SAFETY: the handle belongs to this open library; the pointer and the count are those of
        // one array that lives through the call.
        nvml_try(unsafe { call(device.handle(), N as i32, values.as_mut_ptr()) })
    });
    if let Err(error) = done {
        return std::array::from_fn(|_| Err(missing(FUNCTION, &error)));
    }
    values.map(|value| {
        let name = format!("{FUNCTION}({})", value.fieldId);
        asked(&name, nvml_try(value.nvmlReturn))?;
        number(&value).ok_or_else(|| {
            Missing::new(MissingKind::Failed, format!("{name}: a value of unknown type"))
        })
    })
}

fn number(field: &nvmlFieldValue_t) -> Option<f64> {
    // NVML numbers the types: 0 double, 1 u32, 2 unsigned long, 3 u64, 4 i64, 5 i32, 6 u16.
    let kind = field.valueType;
    let value = field.value;
    #[expect(unsafe_code, reason = "a union of numbers, told apart by the type beside it")]
    // SAFETY: the whole union was zeroed before the call and every bit pattern is a value of each
    // of its members.
    let number = unsafe {
        match kind {
            0 => value.dVal,
            1 => f64::from(value.uiVal),
            2 => value.ulVal as f64,
            3 => value.ullVal as f64,
            4 => value.sllVal as f64,
            5 => f64::from(value.siVal),
            6 => f64::from(value.usVal),
            _ => return None,
        }
    };
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_kind_they_are_and_what_grants_it() {
        let kinds = [
            (NvmlError::NotSupported, MissingKind::Unsupported),
            (NvmlError::FunctionNotFound, MissingKind::Unsupported),
            (NvmlError::FailedToLoadSymbol(String::new()), MissingKind::Unsupported),
            (NvmlError::NoPermission, MissingKind::Denied),
            (NvmlError::NoData, MissingKind::Unavailable),
            (NvmlError::GpuLost, MissingKind::Failed),
            (NvmlError::UnexpectedVariant(999), MissingKind::Failed),
        ];
        for (error, kind) in kinds {
            let missing = missing("nvmlX", &error);
            assert_eq!(missing.kind, kind, "{error}");
            assert!(missing.reason.starts_with("nvmlX: "), "{}", missing.reason);
            assert_eq!(missing.grant.is_some(), kind == MissingKind::Denied);
        }
        let profiling = missing("nvmlGpmSampleGet", &NvmlError::NoPermission);
        assert!(profiling.grant.is_some_and(|grant| grant.contains("RestrictProfiling")));
    }
}
