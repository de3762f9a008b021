/* A stand-in for the NVIDIA driver's library, for tests only: it speaks NVML's ABI and answers from
 * the script `fake_nvml.conf` that lies beside it. The script is read at every call, so that a test
 * can change what happens under way. Lines of the script, all optional:
 *   gpus N            number of GPUs (default 2)
 *   name TEXT         their product name
 *   gpm 0|1           whether they have GPM
 *   mig N             MIG instances on GPU 0
 *   counters 0|1      whether NVLink and PCIe counters exist
 *   throttle N        clock event reasons of all GPUs
 *   energy_step_ms N  time between two steps of the energy counter (default 100; 0: it stands still)
 *   processes 0|1     whether a process computes on each GPU (default 1)
 *   fail NAME CODE    the function NAME ends with CODE
 *   fail_field N CODE the field value N ends with CODE
 *   fail_metric N CODE  the GPM metric N ends with CODE
 * Numbers are fixed, but for energy, which grows with time as the power says, and for the other
 * counters, which grow with every call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct device { int gpu, mig; } device;
static device devices[16], instances[16];
static unsigned long long pcie[16], nvlink[16], violation[16];
static int next_sample = 1;

struct script { int gpus, gpm, mig, counters, step_ms, processes, code; unsigned long long throttle; char name[96]; };

static struct script read_script(const char *function, const char *kind, int number) {
    struct script s = { 2, 1, 0, 1, 100, 1, OK, 4, "NVIDIA H100 80GB HBM3" };
    Dl_info self;
    char path[4096], line[256], word[128];
    int a, b;
    if (!dladdr((void *)read_script, &self)) return s;
    const char *end = strrchr(self.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/fake_nvml.conf", end ? (int)(end - self.dli_fname) : 1,
             end ? self.dli_fname : ".");
    FILE *file = fopen(path, "r");
    if (!file) return s;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "gpus %d", &s.gpus);
        sscanf(line, "gpm %d", &s.gpm);
        sscanf(line, "mig %d", &s.mig);
        sscanf(line, "counters %d", &s.counters);
        sscanf(line, "energy_step_ms %d", &s.step_ms);
        sscanf(line, "processes %d", &s.processes);
        sscanf(line, "throttle %llu", &s.throttle);
        sscanf(line, "name %95[^\n]", s.name);
        if (function && sscanf(line, "fail %127s %d", word, &a) == 2 && !strcmp(word, function))
            s.code = a;
        if (kind && sscanf(line, "%127s %d %d", word, &a, &b) == 3 && !strcmp(word, kind) &&
            a == number)
            s.code = b;
    }
    fclose(file);
    return s;
}

#define ENTER                                                   \
    struct script s = read_script(__func__, 0, 0);              \
    (void)s;                                                    \
    if (s.code) return s.code
#define WHOLE_GPU                                               \
    if (d->mig >= 0) return NOT_SUPPORTED

int nvmlInit_v2(void) { ENTER; return OK; }
int nvmlShutdown(void) { ENTER; return OK; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the fake library"; }

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    ENTER;
    snprintf(text, size, "580.95.05");
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) { ENTER; *count = (unsigned)s.gpus; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **d) {
    ENTER;
    if ((int)index >= s.gpus || index >= 16) return INVALID_ARGUMENT;
    devices[index] = (device){ (int)index, -1 };
    *d = &devices[index];
    return OK;
}
int nvmlDeviceGetName(device *d, char *text, unsigned size) {
    ENTER;
    snprintf(text, size, d->mig < 0 ? "%s" : "%s MIG 1g.10gb", s.name);
    return OK;
}
int nvmlDeviceGetUUID(device *d, char *text, unsigned size) {
    ENTER;
    snprintf(text, size, "%s-00000000-0000-0000-0000-%06d%06d", d->mig < 0 ? "GPU" : "MIG", d->gpu,
             d->mig + 1);
    return OK;
}
int nvmlDeviceGetPowerUsage(device *d, unsigned *mw) {
    ENTER;
    WHOLE_GPU;
    *mw = 350500u + (unsigned)d->gpu * 1000u;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *mw) {
    ENTER;
    WHOLE_GPU;
    *mw = 700000u;
    return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(device *d, unsigned long long *mj) {
    ENTER;
    WHOLE_GPU;
    static unsigned long long begin_ms;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    unsigned long long ms = now.tv_sec * 1000ull + now.tv_nsec / 1000000ull;
    if (!begin_ms) begin_ms = ms;
    ms = s.step_ms > 0 ? (ms - begin_ms) / s.step_ms * s.step_ms : 0;
    *mj = 5000000ull + (350500ull + d->gpu * 1000ull) * ms / 1000ull;
    return OK;
}
int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *celsius) {
    ENTER;
    WHOLE_GPU;
    (void)sensor;
    *celsius = 61;
    return OK;
}
int nvmlDeviceGetClockInfo(device *d, int kind, unsigned *mhz) {
    ENTER;
    (void)d;
    *mhz = kind == 1 ? 1980u : 2619u;
    return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *bits) {
    ENTER;
    WHOLE_GPU;
    *bits = s.throttle;
    return OK;
}
struct violation { unsigned long long reference_us, ns; };
int nvmlDeviceGetViolationStatus(device *d, int policy, struct violation *v) {
    ENTER;
    WHOLE_GPU;
    v->reference_us = 1;
    v->ns = policy == 0 ? (violation[d->gpu] += 7000000ull) : 0;
    return OK;
}
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(device *d, struct memory *m) {
    ENTER;
    m->total = d->mig < 0 ? 80ull << 30 : 10ull << 30;
    m->reserved = 1ull << 29;
    m->used = 3ull << 30;
    m->free = m->total - m->used - m->reserved;
    return OK;
}
struct utilization { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(device *d, struct utilization *u) {
    ENTER;
    WHOLE_GPU;
    u->gpu = 100;
    u->memory = 37;
    return OK;
}
int nvmlDeviceGetCurrPcieLinkGeneration(device *d, unsigned *gen) {
    ENTER;
    WHOLE_GPU;
    *gen = 5;
    return OK;
}
int nvmlDeviceGetCurrPcieLinkWidth(device *d, unsigned *lanes) {
    ENTER;
    WHOLE_GPU;
    *lanes = 16;
    return OK;
}
int nvmlDeviceGetPcieThroughput(device *d, int counter, unsigned *kb) {
    ENTER;
    WHOLE_GPU;
    *kb = counter == 0 ? 2000u : 3000u;
    return OK;
}

struct field { unsigned id, scope; long long at, took; int type, code; unsigned long long value; };
static void field_value(device *d, struct field *f) {
    struct script s = read_script(0, "fail_field", (int)f->id);
    f->code = s.code;
    f->type = 3; /* unsigned long long */
    if (f->code) return;
    switch (f->id) {
    case 82: f->value = 77; f->type = 1; break;
    case 186:
        if (f->scope == 1) { f->code = NOT_SUPPORTED; break; }
        f->value = 402000; f->type = 1; break;
    case 197: case 198:
        if (!s.counters) { f->code = NOT_SUPPORTED; break; }
        f->value = pcie[d->gpu] += 1000000ull; break;
    case 138: case 139:
        if (!s.counters || f->scope != 0xffffffffu) { f->code = NOT_SUPPORTED; break; }
        f->value = nvlink[d->gpu] += 2048ull; break;
    default: f->code = NOT_SUPPORTED;
    }
}
int nvmlDeviceGetFieldValues(device *d, int count, struct field *fields) {
    ENTER;
    WHOLE_GPU;
    for (int i = 0; i < count; i++) field_value(d, &fields[i]);
    return OK;
}

int nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending) {
    ENTER;
    *current = *pending = d->gpu == 0 && s.mig > 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *count) {
    ENTER;
    *count = d->gpu == 0 && s.mig > 0 ? 7 : 0;
    return OK;
}
int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **mig) {
    ENTER;
    if (d->gpu != 0 || (int)index >= s.mig || index >= 16) return NOT_FOUND;
    instances[index] = (device){ d->gpu, (int)index };
    *mig = &instances[index];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(device *d, unsigned *id) {
    ENTER;
    if (d->mig < 0) return INVALID_ARGUMENT;
    *id = 7u + (unsigned)d->mig;
    return OK;
}

struct gpm_support { unsigned version, supported; };
int nvmlGpmQueryDeviceSupport(device *d, struct gpm_support *support) {
    ENTER;
    (void)d;
    support->supported = (unsigned)s.gpm;
    return OK;
}
int nvmlGpmSampleAlloc(int **sample) { ENTER; *sample = calloc(1, sizeof **sample); return OK; }
int nvmlGpmSampleFree(int *sample) { ENTER; free(sample); return OK; }
int nvmlGpmSampleGet(device *d, int *sample) {
    ENTER;
    if (!s.gpm || d->mig >= 0) return NOT_SUPPORTED;
    *sample = next_sample++;
    return OK;
}
int nvmlGpmMigSampleGet(device *d, unsigned instance, int *sample) {
    ENTER;
    if (!s.gpm || d->mig >= 0 || instance < 7) return NOT_SUPPORTED;
    *sample = next_sample++;
    return OK;
}
struct gpm_metric { unsigned id; int code; double value; char *short_name, *long_name, *unit; };
struct gpm_get { unsigned version, count; int *first, *second; struct gpm_metric metrics[210]; };
int nvmlGpmMetricsGet(struct gpm_get *get) {
    ENTER;
    if (!*get->first || *get->first >= *get->second) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < get->count; i++) {
        struct gpm_metric *m = &get->metrics[i];
        m->code = read_script(0, "fail_metric", (int)m->id).code;
        switch (m->id) {
        case 2: m->value = 81.0; break;
        case 3: m->value = 42.5; break;
        case 5: m->value = 61.0; break;
        case 10: m->value = 55.0; break;
        case 20: m->value = 1000.0; break;
        case 21: m->value = 2000.0; break;
        case 60: m->value = 30000.0; break;
        case 61: m->value = 31000.0; break;
        default: m->code = NOT_SUPPORTED;
        }
    }
    return OK;
}

struct process { unsigned pid; unsigned long long bytes; unsigned instance, compute; };
int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, struct process *list) {
    ENTER;
    unsigned have = !s.processes ? 0 : d->gpu == 1 ? 2 : 1;
    if (!list || *count < have) { *count = have; return INSUFFICIENT_SIZE; }
    for (unsigned i = 0; i < have; i++)
        list[i] = (struct process){ 4242u + i, 1ull << 30, ~0u, ~0u };
    *count = have;
    return OK;
}
