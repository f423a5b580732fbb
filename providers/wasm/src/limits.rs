//! What a tool may use, and the name of each limit.
//!
//! Invariant: whatever stops a tool is one [`Limit`] with the number that was allowed, so that the message
//! tells the operator which figure to raise and the model that trying again is no use.

use std::{fmt, time::Duration};

use frontdesk_api::Error;
use serde_json::Value;

/// What one group may be given less of, in `args.limits` of its registration.
const NARROWER: &str = "cpu_ms, wall_ms, memory_mib, output_kib, host_calls and requests";

/// How far one call may go. The same figures hold for the one `describe` call at registration, except
/// where [`Limits::for_describing`] is tighter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Processor time of the guest and of host calls made for it. Checked every 5 ms.
    pub cpu: Duration,
    /// Time on the wall, waiting for a free slot and for host calls included.
    pub wall: Duration,
    /// Linear memory of all the call's instances together, in bytes; at most 4 GiB.
    pub memory: usize,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Linear memories in one component (a JavaScript tool has three).
    pub memories: u32,
    /// Tables in one component.
    pub tables: u32,
    /// Core instances in one component (a Python tool has some forty).
    pub instances: u32,
    /// Handles to resources that a call's instances hold at the same time.
    pub handles: usize,
    /// Stack of the guest in bytes.
    pub stack: usize,
    /// A component's bytes.
    pub component_bytes: usize,
    /// Imports of a component.
    pub imports: usize,
    /// The text of a call's arguments, in bytes.
    pub arguments: usize,
    /// The text of a call's result, in bytes.
    pub output: usize,
    /// Bytes a guest may hand to the host in one host call or result. At least `output`.
    pub transfer: usize,
    /// Host calls in one call.
    pub host_calls: u32,
    /// Those among them that ask another server.
    pub requests: u32,
    /// Log text of one call, in bytes.
    pub log_bytes: usize,
    /// A key of the tool's own data, in bytes.
    pub kv_key: usize,
    /// A value of the tool's own data, in bytes.
    pub kv_value: usize,
    /// Random bytes in one host call.
    pub random_bytes: usize,
    /// Calls that run at the same time; more wait for a slot.
    pub concurrent: u32,
    /// Processor time of the child that compiles a component, in whole seconds.
    pub compile_cpu: Duration,
    /// Address space of that child, in bytes.
    pub compile_space: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(1),
            wall: Duration::from_secs(10),
            memory: 64 << 20,
            table_elements: 20_000,
            memories: 4,
            tables: 4,
            instances: 64,
            handles: 1_000,
            stack: 512 << 10,
            // A tool in Python brings CPython, 19 MB.
            component_bytes: 32 << 20,
            imports: 64,
            arguments: 256 << 10,
            output: 256 << 10,
            transfer: 1 << 20,
            host_calls: 1_000,
            requests: 32,
            log_bytes: 32 << 10,
            kv_key: 256,
            kv_value: 256 << 10,
            random_bytes: 4_096,
            concurrent: 64,
            compile_cpu: Duration::from_secs(90),
            compile_space: 2 << 30,
        }
    }
}

impl Limits {
    /// For the one call of `describe`: it has only to hand over a text.
    #[must_use]
    pub fn for_describing(self) -> Self {
        Self {
            cpu: self.cpu.min(Duration::from_secs(1)),
            wall: self.wall.min(Duration::from_secs(5)),
            host_calls: self.host_calls.min(64),
            log_bytes: self.log_bytes.min(4 << 10),
            ..self
        }
    }

    /// For one group: what its registration says in `args.limits`, each at most what holds for all.
    ///
    /// # Errors
    /// `Invalid` naming the member and what is allowed.
    pub fn narrowed(self, args: &Value) -> Result<Self, Error> {
        let Some(asked) = args.get("limits").filter(|asked| !asked.is_null()) else { return Ok(self) };
        let Some(asked) = asked.as_object() else {
            return Err(Error::invalid("args.limits", format!("args.limits may say {NARROWER}")));
        };
        let mut limits = self;
        for (name, value) in asked {
            let param = format!("args.limits.{name}");
            let number = |most: u64| {
                value.as_u64().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
                    Error::invalid(&param, format!("{param} is a whole number from 1 to {most}, not {value}"))
                })
            };
            let size = |most: usize, shift: u32| {
                let n = number(most as u64 >> shift)?;
                Ok::<_, Error>(usize::try_from(n << shift).unwrap_or(most).min(most))
            };
            let time =
                |most: Duration| number(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)).map(Duration::from_millis);
            let count = |most: u32| Ok::<_, Error>(u32::try_from(number(most.into())?).unwrap_or(most));
            match name.as_str() {
                "cpu_ms" => limits.cpu = time(self.cpu)?,
                "wall_ms" => limits.wall = time(self.wall)?,
                "memory_mib" => limits.memory = size(self.memory, 20)?,
                "output_kib" => limits.output = size(self.output, 10)?,
                "host_calls" => limits.host_calls = count(self.host_calls)?,
                "requests" => limits.requests = count(self.requests)?,
                _ => {
                    return Err(Error::invalid(
                        &param,
                        format!("'{name}' is no limit of a tool group; there are {NARROWER}"),
                    ));
                }
            }
        }
        Ok(limits)
    }

    /// The error for going past `limit`.
    #[must_use]
    pub fn exceeded(&self, limit: Limit) -> Exceeded {
        let number = |n: usize| n as u64;
        let allowed = match limit {
            Limit::Cpu => u64::try_from(self.cpu.as_millis()).unwrap_or(u64::MAX),
            Limit::Wall => u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX),
            Limit::Memory => number(self.memory),
            Limit::Memories => self.memories.into(),
            Limit::Table => number(self.table_elements),
            Limit::Tables => self.tables.into(),
            Limit::Instances => self.instances.into(),
            Limit::Handles => number(self.handles),
            Limit::Stack => number(self.stack),
            Limit::ComponentSize => number(self.component_bytes),
            Limit::Imports => number(self.imports),
            Limit::Arguments => number(self.arguments),
            Limit::Output => number(self.output),
            Limit::Transfer => number(self.transfer),
            Limit::HostCalls => self.host_calls.into(),
            Limit::Requests => self.requests.into(),
            Limit::LogBytes => number(self.log_bytes),
            Limit::KvKey => number(self.kv_key),
            Limit::KvValue => number(self.kv_value),
            Limit::RandomBytes => number(self.random_bytes),
            Limit::CompileCpu => u64::try_from(self.compile_cpu.as_millis()).unwrap_or(u64::MAX),
            Limit::CompileSpace => number(self.compile_space),
        };
        Exceeded { limit, allowed }
    }
}

/// The limits by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    Cpu,
    Wall,
    Memory,
    Memories,
    Table,
    Tables,
    Instances,
    Handles,
    Stack,
    ComponentSize,
    Imports,
    Arguments,
    Output,
    Transfer,
    HostCalls,
    Requests,
    LogBytes,
    KvKey,
    KvValue,
    RandomBytes,
    CompileCpu,
    CompileSpace,
}

impl Limit {
    /// The name in messages, logs and a result's details.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu time",
            Self::Wall => "wall time",
            Self::Memory => "memory",
            Self::Memories => "memories",
            Self::Table => "table",
            Self::Tables => "tables",
            Self::Instances => "instances",
            Self::Handles => "handles",
            Self::Stack => "stack",
            Self::ComponentSize => "component size",
            Self::Imports => "imports",
            Self::Arguments => "arguments",
            Self::Output => "output",
            Self::Transfer => "transfer",
            Self::HostCalls => "host calls",
            Self::Requests => "requests",
            Self::LogBytes => "log",
            Self::KvKey => "key size",
            Self::KvValue => "value size",
            Self::RandomBytes => "random bytes",
            Self::CompileCpu => "compile time",
            Self::CompileSpace => "compile memory",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Cpu | Self::Wall | Self::CompileCpu => " ms",
            Self::Table => " elements",
            Self::Memories
            | Self::Tables
            | Self::Instances
            | Self::Handles
            | Self::Imports
            | Self::HostCalls
            | Self::Requests => "",
            _ => " bytes",
        }
    }
}

/// A limit and what it allowed: milliseconds, bytes, elements or a plain count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    pub allowed: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} limit of {}{}", self.limit.name(), self.allowed, self.limit.unit())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_may_be_given_less_and_never_more() {
        let all = Limits::default();
        let narrowed = |limits: Value| all.narrowed(&json!({ "component": "file_1", "limits": limits }));
        let less = json!({ "cpu_ms": 20, "wall_ms": 10_000, "memory_mib": 16, "output_kib": 1, "host_calls": 3,
            "requests": 2 });
        let cpu = Duration::from_millis(20);
        let expected = Limits { cpu, memory: 16 << 20, output: 1 << 10, host_calls: 3, requests: 2, ..all };
        assert_eq!(narrowed(less).unwrap(), expected);
        assert_eq!((narrowed(json!(null)).unwrap(), all.narrowed(&json!({})).unwrap()), (all, all));
        for (limits, param, words) in [
            (json!({ "cpu_ms": 1001 }), "args.limits.cpu_ms", "from 1 to 1000, not 1001"),
            (json!({ "memory_mib": 65 }), "args.limits.memory_mib", "from 1 to 64, not 65"),
            (json!({ "output_kib": 0 }), "args.limits.output_kib", "from 1 to 256, not 0"),
            (json!({ "host_calls": "3" }), "args.limits.host_calls", "from 1 to 1000, not \"3\""),
            (json!({ "requests": 33 }), "args.limits.requests", "from 1 to 32, not 33"),
            (json!({ "fuel": 1 }), "args.limits.fuel", "there are cpu_ms, wall_ms"),
            (json!([]), "args.limits", "may say cpu_ms"),
        ] {
            let refused = narrowed(limits).expect_err(param);
            assert_eq!(refused.param.as_deref(), Some(param));
            assert!(refused.message.contains(words), "{refused}");
        }
    }
}
