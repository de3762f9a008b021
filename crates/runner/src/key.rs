//! Reads a key from where the plan says. It goes into request heads and nowhere else.

use loadline_schema::plan::KeySource;

use crate::RunError;

/// The key itself.
pub(crate) fn read(source: &KeySource) -> Result<String, RunError> {
    let (text, place) = match source {
        KeySource::Env(name) => {
            let text = std::env::var(name).map_err(|_| {
                RunError::Key(format!(
                    "the environment variable {name} is not set; export it, or name another with \
                     --api-key-env"
                ))
            })?;
            (text, format!("the environment variable {name}"))
        }
        KeySource::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                RunError::Key(format!("cannot read the key from {path}: {error}"))
            })?;
            (text, path.clone())
        }
    };
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() {
        return Err(RunError::Key(format!("{place} holds no key: its first line is empty")));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "holds a character that a header cannot carry (a space, an accent)";
        return Err(RunError::Key(format!("the key in {place} {why}")));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("key");
        let source = KeySource::File(path.display().to_string());
        assert!(read(&source).expect_err("missing").to_string().contains("cannot read the key"));
        std::fs::write(&path, "  sk-abc \nrest").expect("written");
        assert_eq!(read(&source).expect("a key"), "sk-abc");
        std::fs::write(&path, "\n").expect("written");
        assert!(read(&source).expect_err("empty").to_string().contains("holds no key"));
        std::fs::write(&path, "a b").expect("written");
        assert!(read(&source).is_err());
    }

    #[test]
    fn a_missing_variable_is_named() {
        let source = KeySource::Env("LOADLINE_TEST_NO_SUCH_KEY".to_owned());
        let message = read(&source).expect_err("not set").to_string();
        assert!(message.contains("LOADLINE_TEST_NO_SUCH_KEY"), "{message}");
    }
}
