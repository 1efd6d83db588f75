//! JSON documents beside their schemas, for tests.

use serde_json::Value;

/// What a value has that its schema does not allow; patterns apart.
pub(crate) fn violations(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return match root.pointer(reference.trim_start_matches('#')) {
            Some(schema) => violations(root, schema, value, path),
            None => vec![format!("{path}: there is no {reference}")],
        };
    }
    if let Some(ways) = schema["anyOf"].as_array() {
        let fits = ways.iter().any(|way| violations(root, way, value, path).is_empty());
        return if fits {
            vec![]
        } else {
            vec![format!("{path}: none of anyOf")]
        };
    }
    let mut wrong = Vec::new();
    let is = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => "null",
        Value::String(_) => "string",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => vec![is.into()],
        one => vec![one.clone()],
    };
    let fits = types.contains(&is.into()) || is == "integer" && types.contains(&"number".into());
    if !fits {
        wrong.push(format!("{path}: {is}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        wrong.push(format!("{path}: {value} is not in the enum"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(violations(root, &schema["items"], item, &format!("{path}[{index}]")));
    }
    for (key, below) in value.as_object().into_iter().flatten() {
        match &schema["properties"][key] {
            Value::Null if schema["additionalProperties"] == Value::Bool(false) => wrong.push(format!("{path}.{key}")),
            Value::Null => wrong.extend(violations(root, &schema["additionalProperties"], below, path)),
            property => wrong.extend(violations(root, property, below, &format!("{path}.{key}"))),
        }
    }
    let required = schema["required"].as_array().into_iter().flatten();
    for key in required.filter_map(Value::as_str) {
        if value.is_object() && value.get(key).is_none() {
            wrong.push(format!("{path}: no {key}"));
        }
    }
    wrong
}
