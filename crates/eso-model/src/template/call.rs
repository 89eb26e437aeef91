//! Calls functions and checks the number and types of their arguments.

use super::{
    Failure,
    functions::{self, Function, Parameter},
    run::Run,
    tree::Operand,
    value::{Of, Value},
};

impl Run<'_> {
    /// Calls a function. `last` is the last argument, which comes from the pipeline.
    pub(super) fn call(
        &mut self,
        dot: &Value,
        name: &str,
        operands: &[Operand],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        self.heap.step(1)?;
        let function = functions::find(name)?;
        let count = operands.len() + usize::from(last.is_some());
        let fixed = function.fixed.len();
        if count < fixed || (count > fixed && function.rest.is_none()) {
            return Err(Failure::fails(format!(
                "the number of arguments of `{name}`"
            )));
        }
        if matches!(name, "and" | "or") {
            return self.logic(dot, name == "or", operands, last);
        }
        let mut arguments = Vec::with_capacity(count);
        for (index, operand) in operands.iter().enumerate() {
            let parameter = parameter(function, index)?;
            arguments.push(self.argument(dot, name, parameter, operand)?);
        }
        if let Some(last) = last {
            let parameter = parameter(function, operands.len())?;
            arguments.push(self.check(name, parameter, last)?);
        }
        for argument in &arguments {
            if let Value::List(list) = argument
                && !function.any_order
            {
                list.ordered()?;
            }
        }
        self.charge(function, &arguments)?;
        let result = (function.run)(&mut self.heap, arguments);
        let value = result.map_err(|failure| failure.within(name))?;
        self.heap.read(self.heap.size(&value)?)?;
        Ok(value)
    }

    /// Takes the work of reading the arguments from the budget. A function that needs more, because it walks into lists or
    /// reads a byte more than once, takes that itself.
    fn charge(&self, function: &Function, arguments: &[Value]) -> Result<(), Failure> {
        for argument in arguments {
            let size = self.heap.size(argument)?;
            self.heap
                .read(size.saturating_mul(function.work_per_byte))?;
        }
        Ok(())
    }

    /// Evaluates `and` and `or`: returns the deciding argument and does not evaluate the later ones.
    fn logic(
        &mut self,
        dot: &Value,
        decides: bool,
        operands: &[Operand],
        last: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut value = Value::Nil;
        for operand in operands {
            self.heap.step(1)?;
            value = self.operand(dot, operand)?;
            if self.heap.truth(&value)? == decides {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(
        &mut self,
        dot: &Value,
        name: &str,
        parameter: Parameter,
        operand: &Operand,
    ) -> Result<Value, Failure> {
        match (operand, parameter) {
            (Operand::Nil, Parameter::Any) => Ok(Value::Nil),
            (Operand::Nil, Parameter::Map) => self.heap.nil_map(),
            (Operand::Number(number), Parameter::Int) => match number.whole {
                Some(whole) => Ok(Value::Int(whole)),
                None => Err(wrong_type(name)),
            },
            (Operand::Number(number), Parameter::Float) => Ok(Value::Float(number.float)),
            (
                Operand::Nil | Operand::Number(_) | Operand::Bool(_) | Operand::Text(_),
                parameter,
            ) => {
                let value = self.operand(dot, operand)?;
                let fits = match parameter {
                    Parameter::Any => true,
                    Parameter::Text | Parameter::ConstantText => matches!(value, Value::Text(_)),
                    Parameter::Bool => matches!(value, Value::Bool(_)),
                    Parameter::Int | Parameter::Float | Parameter::Map | Parameter::Time => false,
                };
                if fits {
                    Ok(value)
                } else {
                    Err(wrong_type(name))
                }
            }
            _ => {
                let value = self.operand(dot, operand)?;
                self.check(name, parameter, value)
            }
        }
    }

    /// Checks a value against the parameter's type.
    fn check(&mut self, name: &str, parameter: Parameter, value: Value) -> Result<Value, Failure> {
        match (parameter, value) {
            (Parameter::Any, Value::NilElement) => Ok(Value::Nil),
            (Parameter::Map, Value::Nil) => self.heap.nil_map(),
            (Parameter::Map, Value::Map(id)) if self.heap.get(id)?.of == Of::Any => {
                Ok(Value::Map(id))
            }
            (Parameter::Any, value)
            | (Parameter::Text, value @ Value::Text(_))
            | (Parameter::Int, value @ Value::Int(_))
            | (Parameter::Float, value @ Value::Float(_))
            | (Parameter::Time, value @ Value::Time(_))
            | (Parameter::Bool, value @ Value::Bool(_)) => Ok(value),
            _ => Err(wrong_type(name)),
        }
    }
}

fn parameter(function: &Function, index: usize) -> Result<Parameter, Failure> {
    function
        .fixed
        .get(index)
        .copied()
        .or(function.rest)
        .ok_or_else(|| Failure::fails("the number of arguments"))
}

fn wrong_type(name: &str) -> Failure {
    Failure::fails(format!("the type of an argument of `{name}`"))
}
