//! Whatever a script asks its broker for, it is refused, or it is one plain name of its own tenant.
#![no_main]

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use tenantry::broker::{Request, Token, Wanted, read};

const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fuzz_target!(|input: (&[u8], &str, Vec<(&str, &[u8])>, bool)| {
    let (method, target, others, known) = input;
    let Ok(method) = Method::from_bytes(method) else { return };
    // Mostly the paths that there are, with anything behind them.
    let target = if known { format!("/v1/secrets/{target}") } else { target.to_owned() };
    let Ok(uri) = target.parse::<Uri>() else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in others {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let token = Token::new(TOKEN);
    let stranger = headers.get(AUTHORIZATION).is_none_or(|value| value != format!("Bearer {TOKEN}").as_str());
    assert!(!stranger || read(&token, &method, &uri, &headers).is_err());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
    if let Ok(Request::Get(name, wanted)) = read(&token, &method, &uri, &headers) {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        assert!(plain(name.as_str()) && !name.as_str().contains(".."), "{target}");
        assert!(method == Method::GET && !headers.keys().any(|name| name.as_str().contains("tenant")));
        if let Wanted::Version(id) = wanted {
            assert!(plain(id.as_str()), "{target}");
        }
    }
});
