//! What the bytes of a server's answers about itself mean. Pure.

use loadline_schema::event::TargetFacts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A model of `/v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Model {
    pub(super) id: String,
    /// Other names it answers to (llama.cpp).
    #[serde(default)]
    aliases: Vec<String>,
    owned_by: Option<String>,
    /// vLLM, SGLang, LMDeploy.
    max_model_len: Option<u64>,
    /// llama.cpp.
    meta: Option<Meta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Meta {
    n_ctx: Option<u64>,
    n_ctx_train: Option<u64>,
}

/// The models of `/v1/models`; nothing when the body is something else.
pub(super) fn models(body: &[u8]) -> Option<Vec<Model>> {
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    parsed::<Models>(body).map(|models| models.data)
}

/// The model to ask for, with the name under which it is asked for: the first one, or the one that
/// is meant by `asked`: its id or alias, else the file or repository name at the end of one id, else
/// an id but for Ollama's `:latest`.
pub(super) fn choose<'m>(models: &'m [Model], asked: Option<&str>) -> Option<(&'m Model, String)> {
    let Some(asked) = asked else {
        return models.first().map(|model| (model, model.id.clone()));
    };
    let named = |model: &&Model| {
        model.id == asked || model.aliases.iter().any(|alias| alias.as_str() == asked)
    };
    if let Some(model) = models.iter().find(named) {
        return Some((model, asked.to_owned()));
    }
    let like = |model: &&Model| {
        let last = model.id.rsplit('/').next().unwrap_or(&model.id);
        let bare = last.strip_suffix(".gguf").or(last.strip_suffix(":latest")).unwrap_or(last);
        last == asked || bare == asked || model.id.strip_suffix(":latest") == Some(asked)
    };
    let mut found = models.iter().filter(like);
    match (found.next(), found.next()) {
        (Some(model), None) => Some((model, model.id.clone())),
        _ => None,
    }
}

impl Model {
    /// What the list says about the server by this entry.
    pub(super) fn add_to(&self, facts: &mut TargetFacts) {
        const OWNERS: [(&str, &str); 7] = [
            ("llamacpp", "llama.cpp"),
            ("vllm", "vllm"),
            ("sglang", "sglang"),
            ("tensorrt_llm", "tensorrt-llm"),
            ("lmdeploy", "lmdeploy"),
            ("library", "ollama"),
            ("loadline", "llama.cpp"),
        ];
        let owner = self.owned_by.as_deref().unwrap_or_default();
        let engine = OWNERS.iter().find(|(name, _)| *name == owner);
        facts.engine = engine.map(|(_, engine)| (*engine).to_owned());
        let meta = self.meta.as_ref();
        let trained = || meta.and_then(|meta| meta.n_ctx.or(meta.n_ctx_train));
        facts.context_tokens = self.max_model_len.or_else(trained);
    }
}

/// Engine by the prefix of its metrics.
pub(super) fn add_metrics(text: &[u8], facts: &mut TargetFacts) {
    const PREFIXES: [(&[u8], &str); 6] = [
        (b"vllm:", "vllm"),
        (b"sglang:", "sglang"),
        (b"llamacpp:", "llama.cpp"),
        (b"tgi_", "tgi"),
        (b"trtllm_", "tensorrt-llm"),
        (b"lmdeploy:", "lmdeploy"),
    ];
    let mut lines = text.split(|&byte| byte == b'\n');
    let is_comment = |line: &[u8]| line.starts_with(b"# TYPE ") || line.starts_with(b"# HELP ");
    facts.has_metrics = lines.clone().any(is_comment);
    if !facts.has_metrics {
        return;
    }
    let engine = lines
        .find_map(|line| PREFIXES.iter().find(|(prefix, _)| line.starts_with(prefix)))
        .map(|(_, engine)| (*engine).to_owned());
    facts.engine = engine.or(facts.engine.take());
}

/// llama.cpp's `/props`. False when it is not that.
pub(super) fn add_props(body: &[u8], facts: &mut TargetFacts) -> bool {
    #[derive(Deserialize)]
    struct Props {
        total_slots: u64,
        build_info: Option<String>,
        default_generation_settings: Option<Settings>,
    }
    #[derive(Deserialize)]
    struct Settings {
        n_ctx: Option<u64>,
    }
    let Some(props) = parsed::<Props>(body) else { return false };
    facts.engine = Some("llama.cpp".to_owned());
    facts.slots = Some(props.total_slots);
    facts.version = props.build_info.or(facts.version.take());
    // The context of one slot; the model's own may be longer.
    let context = props.default_generation_settings.and_then(|settings| settings.n_ctx);
    facts.context_tokens = context.or(facts.context_tokens);
    true
}

/// SGLang's `/server_info` (`/get_server_info` before 2026). False when it is not that.
pub(super) fn add_sglang(body: &[u8], facts: &mut TargetFacts) -> bool {
    #[derive(Deserialize)]
    struct ServerInfo {
        version: String,
        /// Tells it from other answers with a version.
        model_path: String,
        context_length: Option<u64>,
        max_running_requests: Option<u64>,
    }
    let Some(found) = parsed::<ServerInfo>(body) else { return false };
    facts.engine = Some("sglang".to_owned());
    facts.version = Some(found.version);
    facts.context_tokens = facts.context_tokens.or(found.context_length);
    facts.slots = found.max_running_requests;
    if facts.models.is_empty() {
        facts.models.push(found.model_path);
    }
    true
}

/// `/info` of text-generation-inference. False when it is not that.
pub(super) fn add_tgi(body: &[u8], facts: &mut TargetFacts) -> bool {
    #[derive(Deserialize)]
    struct TgiInfo {
        model_id: String,
        version: String,
        max_total_tokens: Option<u64>,
    }
    let Some(found) = parsed::<TgiInfo>(body) else { return false };
    facts.engine = Some("tgi".to_owned());
    facts.version = Some(found.version);
    facts.context_tokens = found.max_total_tokens.or(facts.context_tokens);
    if facts.models.is_empty() {
        facts.models.push(found.model_id);
    }
    true
}

/// `{"version": …}` of `/version` (vLLM, TensorRT-LLM) and `/api/version` (Ollama).
pub(super) fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    parsed::<Version>(body).map(|found| found.version)
}

/// Context of a loaded model by Ollama's `/api/ps`, tokens.
pub(super) fn ollama_context(body: &[u8], model: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Loaded {
        models: Vec<LoadedModel>,
    }
    #[derive(Deserialize)]
    struct LoadedModel {
        name: String,
        context_length: Option<u64>,
    }
    let is = |loaded: &LoadedModel| {
        loaded.name == model || loaded.name.strip_suffix(":latest") == Some(model)
    };
    parsed::<Loaded>(body)?.models.into_iter().find(is)?.context_length
}

/// Whether an error's text says that the model is still being loaded.
pub(super) fn is_loading(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["loading", "starting", "not ready", "warming up"].iter().any(|sign| message.contains(sign))
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &[u8] = include_bytes!("../../tests/fixtures/llama-models.json");
    const VLLM: &[u8] = include_bytes!("../../tests/fixtures/vllm-models.json");

    fn facts_of(body: &[u8]) -> TargetFacts {
        let mut facts = TargetFacts::default();
        models(body).expect("models")[0].add_to(&mut facts);
        facts
    }

    fn names(ids: &[&str]) -> Vec<Model> {
        let data: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id})).collect();
        models(serde_json::json!({"data": data}).to_string().as_bytes()).expect("models")
    }

    #[test]
    fn a_list_of_models_tells_engine_and_context() {
        let facts = facts_of(LLAMA);
        assert_eq!(facts.engine.as_deref(), Some("llama.cpp"));
        assert_eq!(facts.context_tokens, Some(2048));
        let facts = facts_of(VLLM);
        assert_eq!((facts.engine.as_deref(), facts.context_tokens), (Some("vllm"), Some(1024)));
        let other = br#"{"data":[{"id":"m","owned_by":"someone","meta":null}]}"#;
        assert_eq!(facts_of(other), TargetFacts::default());
        assert_eq!(models(b"<html>"), None);
        assert_eq!(models(br#"{"error":"no"}"#), None);
    }

    #[test]
    fn a_model_is_found_by_what_people_call_it() {
        let name = |ids: &[&str], asked| choose(&names(ids), asked).map(|(_, name)| name);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(name(&["a", "b"], None), some("a"));
        assert_eq!(name(&[], None), None);
        assert_eq!(name(&["a", "b"], Some("b")), some("b"));
        let file = "./models/Smol.Q4_1.gguf";
        assert_eq!(name(&[file], Some("Smol.Q4_1.gguf")), some(file));
        assert_eq!(name(&[file], Some("Smol.Q4_1")), some(file));
        assert_eq!(name(&["org/Llama", "b"], Some("Llama")), some("org/Llama"));
        assert_eq!(name(&["org/Llama", "us/Llama"], Some("Llama")), None, "which one?");
        assert_eq!(name(&["llama3.2:latest"], Some("llama3.2")), some("llama3.2:latest"));
        assert_eq!(name(&["llama3.2:1b"], Some("llama3.2")), None);
        let list = models(br#"{"data":[{"id":"x","aliases":["nick"]}]}"#).expect("models");
        assert_eq!(choose(&list, Some("nick")).map(|(_, name)| name), some("nick"));
    }

    #[test]
    fn metrics_tell_the_engine_by_their_prefix() {
        let engine = |text: &[u8]| {
            let mut facts = TargetFacts::default();
            add_metrics(text, &mut facts);
            (facts.has_metrics, facts.engine)
        };
        let llama = include_bytes!("../../tests/fixtures/llama-metrics.txt");
        assert_eq!(engine(llama), (true, Some("llama.cpp".to_owned())));
        let vllm = include_bytes!("../../tests/fixtures/vllm-metrics.txt");
        assert_eq!(engine(vllm), (true, Some("vllm".to_owned())));
        assert_eq!(engine(b"# TYPE up gauge\nup 1\n"), (true, None));
        assert_eq!(engine(b"vllm: not metrics, a page"), (false, None));
    }

    #[test]
    fn props_of_llama_cpp_hold_slots_and_the_context_of_one() {
        let mut facts = facts_of(LLAMA);
        let props = include_bytes!("../../tests/fixtures/llama-props.json");
        assert!(add_props(props, &mut facts));
        assert_eq!((facts.slots, facts.context_tokens), (Some(4), Some(2048)));
        assert_eq!(facts.version.as_deref(), Some("b0-unknown"));
        assert!(!add_props(br#"{"detail":"Not Found"}"#, &mut TargetFacts::default()));
    }

    #[test]
    fn other_engines_are_known_by_their_own_answers() {
        let mut facts = TargetFacts::default();
        let sglang = br#"{"model_path":"org/m","tp_size":1,"context_length":null,
            "max_running_requests":32,"version":"0.5.9","internal_states":[{}]}"#;
        assert!(add_sglang(sglang, &mut facts));
        assert_eq!((facts.engine.as_deref(), facts.slots), (Some("sglang"), Some(32)));
        assert_eq!((facts.version.as_deref(), facts.context_tokens), (Some("0.5.9"), None));

        let mut facts = TargetFacts::default();
        let tgi = br#"{"model_id":"org/m","max_concurrent_requests":128,"max_total_tokens":4096,
            "version":"3.3.5","docker_label":null}"#;
        assert!(add_tgi(tgi, &mut facts));
        assert_eq!((facts.engine.as_deref(), facts.context_tokens), (Some("tgi"), Some(4096)));
        assert_eq!((facts.models, facts.slots), (vec!["org/m".to_owned()], None));
        assert!(!add_tgi(sglang, &mut TargetFacts::default()));
        assert!(!add_sglang(tgi, &mut TargetFacts::default()));

        assert_eq!(version(br#"{"version":"0.32.0"}"#).as_deref(), Some("0.32.0"));
        assert_eq!(version(b"ok"), None);
        let loaded = br#"{"models":[{"name":"a:latest","context_length":4096},{"name":"b:1"}]}"#;
        assert_eq!(ollama_context(loaded, "a"), Some(4096));
        assert_eq!(ollama_context(loaded, "b:1"), None);
    }

    #[test]
    fn a_server_that_loads_its_model_says_so_in_its_own_words() {
        assert!(is_loading("HTTP status 503: Loading model"));
        assert!(!is_loading("HTTP status 503: overloaded"));
    }
}
