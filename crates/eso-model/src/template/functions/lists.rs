//! Functions on lists.

use super::{
    Function,
    Parameter::{Any, Int, Text},
    int,
    kinds::deep_equal,
    list,
    numbers::to_int,
    refused, take, text, unsupported,
};
use crate::template::{
    Failure, print,
    value::{Heap, List, Of, Value},
};

/// The memory of a number as text.
const DIGITS: usize = 20 + size_of::<String>();

const APPEND: &[super::Parameter] = &[Any, Any];

pub(super) const TABLE: &[Function] = &[
    Function::new("list", &[], make).with_rest(Any),
    Function::new("tuple", &[], make).with_rest(Any),
    Function::new("first", &[Any], first),
    Function::new("mustFirst", &[Any], first),
    Function::new("last", &[Any], last),
    Function::new("mustLast", &[Any], last),
    Function::new("rest", &[Any], |heap, arguments| but(heap, arguments, true)),
    Function::new("mustRest", &[Any], |heap, arguments| {
        but(heap, arguments, true)
    }),
    Function::new("initial", &[Any], |heap, arguments| {
        but(heap, arguments, false)
    }),
    Function::new("mustInitial", &[Any], |heap, arguments| {
        but(heap, arguments, false)
    }),
    Function::new("append", APPEND, append),
    Function::new("push", APPEND, append),
    Function::new("mustAppend", APPEND, append),
    Function::new("mustPush", APPEND, append),
    Function::new("prepend", APPEND, prepend),
    Function::new("mustPrepend", APPEND, prepend),
    Function::new("concat", &[], concat).with_rest(Any),
    Function::new("reverse", &[Any], reverse),
    Function::new("mustReverse", &[Any], reverse),
    Function::new("compact", &[Any], compact),
    Function::new("mustCompact", &[Any], compact),
    Function::new("uniq", &[Any], uniq),
    Function::new("mustUniq", &[Any], uniq),
    Function::new("without", &[Any], without).with_rest(Any),
    Function::new("mustWithout", &[Any], without).with_rest(Any),
    Function::new("has", &[Any, Any], has).in_any_order(),
    Function::new("mustHas", &[Any, Any], has).in_any_order(),
    Function::new("slice", &[Any], slice).with_rest(Any),
    Function::new("mustSlice", &[Any], slice).with_rest(Any),
    Function::new("sortAlpha", &[Any], sort).in_any_order(),
    Function::new("toStrings", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        if let Value::List(list) = &value
            && list.of == Of::Text
        {
            return Ok(value);
        }
        let texts = texts(heap, &value)?;
        heap.list(Of::Text, texts)
    }),
    Function::new("join", &[Text, Any], |heap, arguments| {
        let [separator, value] = take(arguments)?;
        let separator = text(&separator)?.bytes();
        let texts = texts(heap, &value)?;
        let mut whole = 0_usize;
        for text in &texts {
            whole = whole.saturating_add(separator.len() + heap.size(text)?);
        }
        heap.step(texts.len())?;
        heap.consume_bytes(whole)?;
        let mut joined = Vec::new();
        for (index, part) in texts.iter().enumerate() {
            if index > 0 {
                joined.extend_from_slice(separator);
            }
            joined.extend_from_slice(text(part)?.bytes());
        }
        heap.text(joined)
    }),
    Function::new("until", &[Int], |heap, arguments| {
        let [count] = take(arguments)?;
        let count = int(&count)?;
        steps(heap, 0, count, if count < 0 { -1 } else { 1 })
    }),
    Function::new("untilStep", &[Int, Int, Int], |heap, arguments| {
        let [start, stop, step] = take(arguments)?;
        steps(heap, int(&start)?, int(&stop)?, int(&step)?)
    }),
    Function::new("seq", &[], seq).with_rest(Int),
];

fn make(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    heap.list(Of::Any, arguments)
}

fn first(_: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    Ok(list(&from)?.items().first().cloned().unwrap_or(Value::Nil))
}

fn last(_: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    Ok(list(&from)?.items().last().cloned().unwrap_or(Value::Nil))
}

/// Returns all items except the first or the last one.
fn but(heap: &mut Heap, arguments: Vec<Value>, first: bool) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    let items = list(&from)?.items();
    let kept = if first {
        items.get(1..)
    } else {
        items.len().checked_sub(1).and_then(|end| items.get(..end))
    };
    if let Some(kept) = kept {
        return heap.list(Of::Any, kept.to_vec());
    }
    let mut nothing = List::new(Of::Any, Vec::new())?;
    nothing.nil = true;
    Ok(Value::List(nothing))
}

fn append(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [to, value] = take(arguments)?;
    let mut items = list(&to)?.items().to_vec();
    items.push(value);
    heap.list(Of::Any, items)
}

fn prepend(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [to, value] = take(arguments)?;
    let mut items = vec![value];
    items.extend_from_slice(list(&to)?.items());
    heap.list(Of::Any, items)
}

fn concat(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut items = Vec::new();
    for from in &arguments {
        let from = list(from)?.items();
        heap.step(from.len())?;
        items.extend_from_slice(from);
    }
    let mut all = List::new(Of::Any, items)?;
    all.nil = all.items().is_empty();
    Ok(Value::List(all))
}

fn reverse(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    let items = list(&from)?.items().iter().rev().cloned().collect();
    heap.list(Of::Any, items)
}

fn compact(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    let mut items = Vec::new();
    for item in list(&from)?.items() {
        if heap.truth(item)? {
            items.push(item.clone());
        }
    }
    heap.list(Of::Any, items)
}

fn contains(heap: &mut Heap, items: &[Value], value: &Value) -> Result<bool, Failure> {
    for item in items {
        if deep_equal(heap, value, item, 0)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    let mut items = Vec::new();
    for item in list(&from)?.items() {
        if !contains(heap, &items, item)? {
            items.push(item.clone());
        }
    }
    heap.list(Of::Any, items)
}

fn without(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let (from, left_out) = arguments.split_first().ok_or_else(refused)?;
    let mut items = Vec::new();
    for item in list(from)?.items() {
        if !contains(heap, left_out, item)? {
            items.push(item.clone());
        }
    }
    heap.list(Of::Any, items)
}

fn has(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value, within] = take(arguments)?;
    if matches!(within, Value::Nil) {
        return Ok(Value::Bool(false));
    }
    contains(heap, list(&within)?.items(), &value).map(Value::Bool)
}

fn slice(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let (from, indices) = arguments.split_first().ok_or_else(refused)?;
    let from = list(from)?;
    let length = from.items().len();
    if length == 0 {
        return Ok(Value::Nil);
    }
    let place = |value: &Value| usize::try_from(to_int(value)?).map_err(|_| refused());
    let start = indices.first().map_or(Ok(0), place)?;
    let end = indices.get(1).map_or(Ok(length), place)?;
    if start > end {
        return Err(refused());
    }
    // Go can slice a list beyond its length, up to its capacity.
    let Some(items) = from.items().get(start..end) else {
        return Err(unsupported("a slice beyond the end of a list"));
    };
    heap.step(items.len())?;
    let mut part = List::new(from.of, items.to_vec())?;
    part.part = true;
    Ok(Value::List(part))
}

/// Returns a list's items as text, without nil items. Any other value is treated as a list of one item.
fn texts(heap: &mut Heap, value: &Value) -> Result<Vec<Value>, Failure> {
    let items = match value {
        Value::Nil => &[],
        Value::List(list) => list.items(),
        value => std::slice::from_ref(value),
    };
    heap.step(items.len())?;
    heap.consume_bytes(items.len().saturating_mul(size_of::<Value>()))?;
    let mut texts = Vec::new();
    for item in items {
        match item {
            Value::Nil => {}
            Value::Text(_) => texts.push(item.clone()),
            item => {
                let shown = print::shown(heap, item)?;
                texts.push(heap.text(shown)?);
            }
        }
    }
    Ok(texts)
}

fn sort(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    if matches!(value, Value::Nil) {
        let shown = heap.text(b"<nil>".to_vec())?;
        return heap.list(Of::Text, vec![shown]);
    }
    let mut texts = texts(heap, &value)?;
    charge_sort(heap, &texts)?;
    if let Value::List(list) = &value {
        if list.of == Of::Text && !list.is_unshared() && !list.unordered {
            return Err(unsupported("sorting a list that is also used elsewhere"));
        }
        texts.sort_by(|a, b| match (a, b) {
            (Value::Text(a), Value::Text(b)) => a.bytes().cmp(b.bytes()),
            _ => std::cmp::Ordering::Equal,
        });
    }
    heap.list(Of::Text, texts)
}

/// Takes the work of sorting from the budget: each text is compared about log(n) times.
fn charge_sort(heap: &Heap, texts: &[Value]) -> Result<(), Failure> {
    let comparisons = usize::try_from(texts.len().checked_ilog2().unwrap_or(0) + 1);
    let comparisons = comparisons.unwrap_or(usize::MAX);
    for text in texts {
        heap.step(comparisons)?;
        heap.read(heap.size(text)?.saturating_mul(comparisons))?;
    }
    Ok(())
}

/// Returns the numbers from the start up to, but not including, the end.
fn numbers(heap: &mut Heap, start: i64, end: i64, step: i64) -> Result<Vec<i64>, Failure> {
    let mut numbers = Vec::new();
    if (end < start && step >= 0) || (end >= start && step <= 0) {
        return Ok(numbers);
    }
    let mut number = start;
    while if step > 0 { number < end } else { number > end } {
        heap.step(1)?;
        heap.consume_bytes(size_of::<i64>() + DIGITS)?;
        numbers.push(number);
        number = number
            .checked_add(step)
            .ok_or_else(|| unsupported("a number of this size"))?;
    }
    Ok(numbers)
}

fn steps(heap: &mut Heap, start: i64, end: i64, step: i64) -> Result<Value, Failure> {
    let numbers = numbers(heap, start, end, step)?;
    heap.list(Of::Int, numbers.into_iter().map(Value::Int).collect())
}

/// Returns the numbers from the start up to and including the end, as text.
fn seq(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let given = arguments.iter().map(int).collect::<Result<Vec<_>, _>>()?;
    let (start, step, end) = match given.as_slice() {
        [end] => (1, None, *end),
        [start, end] => (*start, None, *end),
        [start, step, end] => (*start, Some(*step), *end),
        _ => return heap.text(Vec::new()),
    };
    let direction = if end < start { -1 } else { 1 };
    let step = step.unwrap_or(direction);
    if direction < 0 && step > 0 {
        return heap.text(Vec::new());
    }
    let behind = end
        .checked_add(direction)
        .ok_or_else(|| unsupported("a number of this size"))?;
    let numbers: Vec<String> = numbers(heap, start, behind, step)?
        .iter()
        .map(ToString::to_string)
        .collect();
    heap.text(numbers.join(" ").into_bytes())
}
