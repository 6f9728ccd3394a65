//! Errors with the errno that caused them.
use napi::{Error, Result, Status};

/// JSON string escape: messages of libbpf hold quotes and line breaks.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `errno` is positive, 0 where there is none.
pub fn failure(errno: i32, message: &str, log: &str) -> Error {
    let json = format!(
        "{{\"errno\":{},\"message\":{},\"log\":{}}}",
        errno,
        quoted(message),
        quoted(log)
    );
    Error::new(Status::GenericFailure, json)
}

pub fn failed(error: &std::io::Error, what: &str) -> Error {
    failure(error.raw_os_error().unwrap_or(0), &format!("{what}: {error}"), "")
}

/// The error of the last failed libc call.
pub fn last(what: &str) -> Error {
    failed(&std::io::Error::last_os_error(), what)
}

/// libbpf's convention: negative is -errno.
pub fn check(result: i32, what: &str) -> Result<i32> {
    if result >= 0 {
        return Ok(result);
    }
    let error = std::io::Error::from_raw_os_error(-result);
    Err(failure(-result, &format!("{what}: {error}"), ""))
}
