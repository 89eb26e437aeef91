//! Executes a parsed template.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{
    Data, ENTRY, Failure, functions, print,
    tree::{Branches, Node, Nodes, Operand, Pipeline, Tree},
    value::{Heap, List, Text, Value, element},
};
use crate::budget::Budget;

/// The maximum depth of blocks within blocks and templates within templates.
const MAX_DEPTH: usize = 96;

/// Renders the template with the data.
pub(super) fn run(tree: &Tree, data: &Data, budget: &Budget) -> Result<Vec<u8>, Failure> {
    let mut heap = Heap::new(budget.clone());
    // Large enough for most templates: a buffer that grows leaves copies in memory that are not wiped.
    let mut expected = 4096;
    for value in data.0.values() {
        expected += heap.size(value)?;
    }
    heap.budget.room(expected)?;
    let data = heap.data(data)?;
    let mut run = Run {
        heap,
        variables: vec![("$".to_owned(), data.clone())],
        output: Zeroizing::new(Vec::with_capacity(expected)),
        defined: &tree.defined,
        depth: 0,
    };
    run.walk(&data, &tree.main)?;
    Ok(std::mem::take(&mut run.output))
}

/// How the execution continues after a node.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The iterations of a range: the index or key, and the item.
enum Rounds {
    Numbers(std::ops::Range<i64>, fn(i64) -> Value),
    List(List, usize),
    Map(std::vec::IntoIter<(Value, Value)>),
}

impl Rounds {
    fn is_empty(&self) -> bool {
        match self {
            Self::Numbers(numbers, _) => numbers.is_empty(),
            Self::List(list, _) => list.items().is_empty(),
            Self::Map(entries) => entries.as_slice().is_empty(),
        }
    }
}

impl Iterator for Rounds {
    type Item = (Value, Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Numbers(numbers, of) => Some((Value::Nil, of(numbers.next()?))),
            Self::List(list, at) => {
                let item = list.element(list.items().get(*at)?);
                let index = Value::Int(i64::try_from(*at).ok()?);
                *at += 1;
                Some((index, item))
            }
            Self::Map(entries) => entries.next(),
        }
    }
}

pub(super) struct Run<'t> {
    pub(super) heap: Heap,
    /// The templates that the template defines.
    defined: &'t BTreeMap<String, Nodes>,
    depth: usize,
    /// Innermost last. A name may occur more than once.
    variables: Vec<(String, Value)>,
    output: Zeroizing<Vec<u8>>,
}

impl Run<'_> {
    fn walk(&mut self, dot: &Value, nodes: &[Node]) -> Result<Flow, Failure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Failure::unverifiable("deep nesting"));
        }
        let flow = self.nodes(dot, nodes);
        self.depth -= 1;
        flow
    }

    fn nodes(&mut self, dot: &Value, nodes: &[Node]) -> Result<Flow, Failure> {
        for node in nodes {
            self.heap.step(1)?;
            let flow = match node {
                Node::Text(text) => {
                    self.heap.consume_bytes(text.len())?;
                    self.output.extend_from_slice(text);
                    Flow::On
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(dot, pipeline)?;
                    if pipeline.variables.is_empty() {
                        print::print(&mut self.heap, &value, &mut self.output)?;
                    }
                    Flow::On
                }
                Node::If(branches) => self.branch(dot, branches, false)?,
                Node::With(branches) => self.branch(dot, branches, true)?,
                Node::Range(branches) => self.range(dot, branches)?,
                Node::Template(name, pipeline) => self.template(dot, name, pipeline.as_ref())?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Executes a defined template. It sees no variables other than its own `$`.
    fn template(
        &mut self,
        dot: &Value,
        name: &str,
        pipeline: Option<&Pipeline>,
    ) -> Result<Flow, Failure> {
        let defined = self.defined;
        let Some(nodes) = defined.get(name) else {
            // It may be the name of the key, which calls this template itself.
            return Err(Failure::unverifiable("a template that is not defined"));
        };
        let visible = self.variables.len();
        let value = match pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Value::Nil,
        };
        self.variables.truncate(visible);
        let own = vec![("$".to_owned(), value.clone())];
        let outer = std::mem::replace(&mut self.variables, own);
        self.walk(&value, nodes)?;
        self.variables = outer;
        Ok(Flow::On)
    }

    fn branch(&mut self, dot: &Value, branches: &Branches, sets: bool) -> Result<Flow, Failure> {
        let visible = self.variables.len();
        let value = self.pipeline(dot, &branches.pipeline)?;
        let flow = if !self.heap.truth(&value)? {
            self.walk(dot, &branches.otherwise)?
        } else if sets {
            self.walk(&value, &branches.then)?
        } else {
            self.walk(dot, &branches.then)?
        };
        self.variables.truncate(visible);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branches: &Branches) -> Result<Flow, Failure> {
        let visible = self.variables.len();
        let over = self.pipeline(dot, &branches.pipeline)?;
        let rounds = self.rounds(&over, branches.pipeline.variables.len())?;
        let mut flow = Flow::On;
        if rounds.is_empty() {
            flow = self.walk(dot, &branches.otherwise)?;
        }
        let inner = self.variables.len();
        for (index, item) in rounds {
            self.heap.step(1)?;
            self.set_round(&branches.pipeline, index, &item)?;
            let end = self.walk(&item, &branches.then)?;
            self.variables.truncate(inner);
            if end == Flow::Break {
                break;
            }
        }
        self.variables.truncate(visible);
        Ok(flow)
    }

    /// Returns the iterations of a range.
    fn rounds(&self, over: &Value, names: usize) -> Result<Rounds, Failure> {
        match over {
            Value::Nil | Value::NilElement => Ok(Rounds::Numbers(0..0, Value::Int)),
            Value::Int(_) | Value::Int64(_) if names > 1 => {
                Err(Failure::fails("a `range` over a number with two variables"))
            }
            Value::Int(count) => Ok(Rounds::Numbers(0..*count, Value::Int)),
            Value::Int64(count) => Ok(Rounds::Numbers(0..*count, Value::Int64)),
            Value::List(list) => {
                list.ordered()?;
                Ok(Rounds::List(list.clone(), 0))
            }
            Value::Map(id) => {
                let map = self.heap.get(*id)?;
                let mut keys = 0;
                for key in map.entries.keys() {
                    keys += key.len() + ENTRY;
                }
                // A copy, because the loop can change the map.
                self.heap.consume_bytes(keys)?;
                let rounds = map.entries.iter().map(|(key, item)| {
                    let key = Value::Text(Text::from(key.clone()));
                    (key, element(map.of, item))
                });
                Ok(Rounds::Map(rounds.collect::<Vec<_>>().into_iter()))
            }
            Value::Uint64(_) => Err(Failure::unverifiable("a `range` over this number")),
            Value::Bool(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Time(_)
            | Value::Version(_) => Err(Failure::fails("a `range` over a value of this type")),
        }
    }

    /// Sets the variables of an iteration: the item, or the index and the item.
    fn set_round(
        &mut self,
        pipeline: &Pipeline,
        index: Value,
        item: &Value,
    ) -> Result<(), Failure> {
        let values = match pipeline.variables.len() {
            0 => return Ok(()),
            1 => vec![item.clone()],
            _ => vec![index, item.clone()],
        };
        if pipeline.assigns {
            for (name, value) in pipeline.variables.iter().zip(values) {
                self.assign(name, value)?;
            }
            return Ok(());
        }
        let first = self.variables.len() - values.len();
        for ((_, slot), value) in self.variables.iter_mut().skip(first).zip(values) {
            *slot = value;
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), Failure> {
        self.heap.read(self.variables.len())?;
        let slot = self.variables.iter_mut().rev().find(|(own, _)| own == name);
        let Some((_, slot)) = slot else {
            return Err(Failure::fails("an undefined variable"));
        };
        *slot = value;
        Ok(())
    }

    pub(super) fn variable(&self, name: &str) -> Result<Value, Failure> {
        self.heap.read(self.variables.len())?;
        self.variables
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| Failure::fails("an undefined variable"))
    }

    pub(super) fn pipeline(&mut self, dot: &Value, pipeline: &Pipeline) -> Result<Value, Failure> {
        let mut value = None;
        for command in &pipeline.commands {
            self.heap.step(1)?;
            let next = self.command(dot, command, value)?;
            value = Some(match next {
                Value::NilElement => Value::Nil,
                next => next,
            });
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.heap.consume_bytes(name.len() + ENTRY)?;
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    /// Evaluates a command. `last` is the result of the previous command in the pipeline.
    fn command(
        &mut self,
        dot: &Value,
        command: &[Operand],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        let Some((first, rest)) = command.split_first() else {
            return Ok(Value::Nil);
        };
        if let Operand::Function(name) = first {
            return self.call(dot, name, rest, last);
        }
        if !rest.is_empty() || last.is_some() {
            return Err(Failure::fails(
                "arguments of a value that is not a function",
            ));
        }
        match first {
            Operand::Nil => Err(Failure::fails("`nil` as a command")),
            operand => self.operand(dot, operand),
        }
    }

    /// Evaluates an operand in a place that accepts any type.
    pub(super) fn operand(&mut self, dot: &Value, operand: &Operand) -> Result<Value, Failure> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Number(number) => match number.whole {
                Some(whole) if !number.fraction => Ok(Value::Int(whole)),
                _ => Ok(Value::Float(number.float)),
            },
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Field(fields) => self.fields(dot.clone(), fields),
            Operand::Variable(name, fields) => {
                let value = self.variable(name)?;
                self.fields(value, fields)
            }
            Operand::Chain(of, fields) => {
                let value = self.operand(dot, of)?;
                self.fields(value, fields)
            }
            Operand::Pipeline(pipeline) => self.pipeline(dot, pipeline),
            Operand::Function(name) => match self.call(dot, name, &[], None)? {
                Value::Nil => Ok(Value::NilElement),
                value => Ok(value),
            },
        }
    }

    fn fields(&self, mut value: Value, names: &[String]) -> Result<Value, Failure> {
        for name in names {
            self.heap.step(1)?;
            match value {
                Value::Version(version) => {
                    value = functions::version_method(&version, name)?;
                    continue;
                }
                Value::Time(_) => {
                    return Err(Failure::unverifiable("a method of a time"));
                }
                _ => {}
            }
            let Value::Map(id) = value else {
                return Err(Failure::fails(format!(
                    "the field `{name}` of a value that is not a map"
                )));
            };
            let map = self.heap.get(id)?;
            value = map
                .entries
                .get(name.as_bytes())
                .map(|value| element(map.of, value))
                .ok_or_else(|| Failure::fails(format!("the missing key `{name}`")))?;
        }
        Ok(value)
    }
}
