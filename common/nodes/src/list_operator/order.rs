//! Ordering a list as Python's `sorted` does.

use std::cmp::Ordering;

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{File, Kind, Name, Value};

use super::caught;
use super::filter::file;
use super::spec::Order;

/// What files may be ordered by.
const KEYS: [&str; 8] =
    ["name", "type", "extension", "mime_type", "transfer_method", "url", "related_id", "size"];

pub(super) fn apply(order: &Order, kind: Kind, items: Vec<Value>) -> Result<Vec<Value>, NodeError> {
    let of_files = kind == Kind::ArrayFile;
    if of_files && !KEYS.contains(&&*order.key) {
        return Err(caught(format!("Invalid order key: {}", order.key)));
    }
    let mut keyed: Vec<(Value, Value)> = Vec::with_capacity(items.len());
    for item in items {
        let key = if of_files { file_key(&order.key, &item)? } else { item.clone() };
        keyed.push((key, item));
    }
    // Python sorts the reversed list and reverses the result, so equals keep their order
    if order.descending {
        keyed.reverse();
    }
    sort(&mut keyed);
    if order.descending {
        keyed.reverse();
    }
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

fn file_key(key: &str, item: &Value) -> Result<Value, NodeError> {
    let file = file(item)?;
    Ok(match key {
        "size" => Value::int(file.size_bytes),
        _ => Value::Str(attribute(file, key)),
    })
}

/// A file's attribute as text; absent ones are empty. The url is the remote one.
pub(super) fn attribute(file: &File, key: &str) -> Name {
    let given = match key {
        "name" => file.filename.as_ref(),
        "type" => Some(&file.kind),
        "extension" => file.extension.as_ref(),
        "mime_type" => file.mime_type.as_ref(),
        "transfer_method" => Some(&file.transfer_method),
        "url" => file.remote_url.as_ref(),
        _ => file.related_id.as_ref(),
    };
    given.cloned().unwrap_or_else(|| "".into())
}

fn sort(items: &mut [(Value, Value)]) {
    // NaN is not less than anything, so with it the result depends on the algorithm; short lists
    // follow Python's own, and long ones keep their NaNs together
    let unordered = items.iter().any(|(key, _)| matches!(key, Value::Float(key) if key.is_nan()));
    if unordered && items.len() < SHORT {
        insertion_sort(items);
    } else {
        items.sort_by(|(a, _), (b, _)| total(a, b));
    }
}

/// Below this length Python sorts by binary insertion alone.
const SHORT: usize = 64;

/// Python's way with short lists: find the run at the beginning, insert the rest one by one.
fn insertion_sort(items: &mut [(Value, Value)]) {
    let less = |a: &(Value, Value), b: &(Value, Value)| compare(&a.0, &b.0) == Some(Ordering::Less);
    let mut run = 1;
    if items.len() > 1 && less(&items[1], &items[0]) {
        while run < items.len() && less(&items[run], &items[run - 1]) {
            run += 1;
        }
        items[..run].reverse();
    } else {
        while run < items.len() && !less(&items[run], &items[run - 1]) {
            run += 1;
        }
    }
    for next in run..items.len() {
        let (mut left, mut right) = (0, next);
        while left < right {
            let middle = left + (right - left) / 2;
            if less(&items[next], &items[middle]) {
                right = middle;
            } else {
                left = middle + 1;
            }
        }
        items[left..=next].rotate_right(1);
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ => a.py_cmp(b),
    }
}

/// A total order that agrees with Python's where there is one.
fn total(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Float(value) if value.is_nan() => 1,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::Str(_) => 2,
        _ => 3,
    };
    compare(a, b).unwrap_or_else(|| rank(a).cmp(&rank(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descending_order_keeps_equals_in_place() {
        let items = vec![Value::int(1), Value::Float(2.0), Value::int(2), Value::Bool(true)];
        let order = Order { key: "".into(), descending: true };
        let sorted = apply(&order, Kind::ArrayNumber, items).unwrap();
        let expected = vec![Value::Float(2.0), Value::int(2), Value::int(1), Value::Bool(true)];
        assert_eq!(sorted, expected);
    }

    #[test]
    fn nan_is_sorted_as_python_does() {
        let nan = Value::Float(f64::NAN);
        let order = Order { key: "".into(), descending: false };
        let items = vec![Value::int(3), nan.clone(), Value::int(1), Value::int(2)];
        // to Python these are in order, since nothing is less than what stands before it
        assert_eq!(apply(&order, Kind::ArrayNumber, items.clone()).unwrap(), items);
    }
}
