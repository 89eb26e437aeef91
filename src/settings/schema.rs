//! The JSON Schema of policy files, for editors and other checkers. Made from the same table as our own checks.

use serde_json::{Map, Value, json};

use super::{
    default_of,
    shape::{POLICY, Shape},
};

/// A JSON Schema (2020-12) that every policy file fulfils. It knows less than [`load`](super::load): patterns are coarse,
/// and it does not see quotes or duplicate keys.
pub fn schema() -> Value {
    let mut schema = Map::from_iter([
        (
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        ),
        ("title".to_owned(), json!("eso-sync policy")),
        (
            "description".to_owned(),
            json!("What eso-sync syncs, how fast, and how much at most."),
        ),
    ]);
    schema.extend(of(&POLICY, &[]));
    // A file may be one layer of several, so none has to have all that the whole needs.
    schema.remove("required");
    Value::Object(schema)
}

fn of(shape: &Shape, path: &[&str]) -> Map<String, Value> {
    let schema = match shape {
        Shape::Switch => json!({"type": "boolean"}),
        Shape::Count(least) => json!({"type": "integer", "minimum": least, "maximum": u32::MAX}),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::Text(format) => {
            json!({"type": "string", "pattern": format.pattern, "examples": [format.example]})
        }
        Shape::CountOr(least, format) => {
            json!({"anyOf": [of(&Shape::Count(*least), &[]), of(&Shape::Text(format), &[])]})
        }
        Shape::List { of: item, least } => {
            json!({"type": "array", "items": of(item, &["[]"]), "minItems": least})
        }
        Shape::Entries { key, value } => json!({
            "type": "object",
            "propertyNames": {"pattern": key.pattern},
            "additionalProperties": of(value, &["*"]),
        }),
        Shape::Section { fields, .. } => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| {
                    let path: Vec<&str> = path.iter().copied().chain([field.name]).collect();
                    let mut property = of(&field.shape, &path);
                    property.insert("description".to_owned(), json!(field.about));
                    if let Some(default) =
                        default_of(&path).filter(|default| !default.is_object() && !field.required)
                    {
                        property.insert("default".to_owned(), default);
                    }
                    (field.name.to_owned(), Value::Object(property))
                })
                .collect();
            let required: Vec<&str> = fields
                .iter()
                .filter(|field| field.required)
                .map(|field| field.name)
                .collect();
            json!({"type": "object", "properties": properties, "additionalProperties": false, "required": required})
        }
    };
    if let Value::Object(schema) = schema {
        schema
    } else {
        Map::new()
    }
}
