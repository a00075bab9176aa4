//! A filter of system calls that finds a call by binary search. Every process of a program puts one
//! on, and what that costs grows with the length of the filter: the kernel checks and translates it,
//! and tries every call there is on it. A list of comparisons is six times as long.

use std::collections::BTreeMap;

use libc::{BPF_ABS, BPF_JA, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, sock_filter,
};

/// What to do with a system call: nothing more, or look at its arguments.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Where the number of the call stands in what the kernel shows to filters.
const NUMBER: u32 = 0;

/// Calls next to each other with the same answer, from `first` on.
struct Range {
    first: u32,
    answer: BpfProgram,
}

/// A filter with `action` for the calls that match a rule, and `otherwise` for all others.
pub(super) fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    // Without rules there is the check of the machine, then the answer.
    let machine = std::env::consts::ARCH.try_into()?;
    let bare = SeccompFilter::new(BTreeMap::new(), otherwise.clone(), action.clone(), machine)?;
    let mut program: BpfProgram = bare.try_into()?;
    program.pop();
    program.push(statement(BPF_LD | BPF_W | BPF_ABS, NUMBER));
    program.extend(tree(&ranges(rules, otherwise.into(), action.into())));
    Ok(program)
}

fn ranges(rules: Rules, otherwise: u32, action: u32) -> Vec<Range> {
    let answers = |action: u32| vec![statement(BPF_RET | BPF_K, action)];
    let mut ranges = vec![Range { first: 0, answer: answers(otherwise) }];
    let mut add = |first: u32, answer: BpfProgram| match ranges.last_mut() {
        Some(last) if last.first == first => last.answer = answer,
        _ => ranges.push(Range { first, answer }),
    };
    for (call, chain) in rules {
        // Numbers of system calls are small.
        let Ok(call) = u32::try_from(call) else { continue };
        let mut answer = BpfProgram::new();
        for rule in &chain {
            answer.extend(BpfProgram::from(rule.clone()));
            answer.extend(answers(action));
        }
        answer.extend(answers(if chain.is_empty() { action } else { otherwise }));
        add(call, answer);
        add(call + 1, answers(otherwise));
    }
    ranges.dedup_by(|next, before| next.answer == before.answer);
    ranges
}

/// Finds the range of the loaded number and gives its answer.
fn tree(ranges: &[Range]) -> BpfProgram {
    let (low, high) = match ranges {
        [] => return BpfProgram::new(),
        [range] => return range.answer.clone(),
        ranges => ranges.split_at(ranges.len() / 2),
    };
    let below = tree(low);
    let Some(middle) = high.first() else { return below };
    let skip = u32::try_from(below.len()).unwrap_or(u32::MAX);
    let mut program = match u8::try_from(skip) {
        Ok(near) => vec![jump(BPF_JGE, middle.first, near, 0)],
        Err(_) => vec![jump(BPF_JGE, middle.first, 0, 1), jump(BPF_JA, skip, 0, 0)],
    };
    program.extend(below);
    program.extend(tree(high));
    program
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: short(code), jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: short(BPF_JMP | condition | BPF_K), jt, jf, k }
}

/// Codes of instructions have sixteen bits.
fn short(code: u32) -> u16 {
    u16::try_from(code).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

    use super::*;

    /// Runs a filter as the kernel does, on a call with its first argument.
    fn answer(program: &BpfProgram, call: u32, argument: u32) -> u32 {
        let machine = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let jump = |condition: bool| usize::from(if condition { jt } else { jf });
            match code {
                0x20 => {
                    loaded = match k {
                        0 => call,
                        4 => machine,
                        16 => argument,
                        _ => 0,
                    }
                }
                0x54 => loaded &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(loaded == k),
                0x35 => at += jump(loaded >= k),
                0x06 => return k,
                code => panic!("{code:#x}"),
            }
        }
    }

    #[test]
    fn the_tree_answers_as_a_list_does() {
        let rule = |value| {
            let equal = SeccompCmpOp::Eq;
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, equal, value);
            SeccompRule::new(vec![condition.unwrap()]).unwrap()
        };
        let mut rules: Rules = (0..400).step_by(3).map(|call| (call, Vec::new())).collect();
        rules.extend((100..130).map(|call| (call, Vec::new())));
        rules.insert(7, vec![rule(1), rule(2)]);
        rules.insert(8, vec![rule(2)]);
        let (otherwise, action) = (SeccompAction::Errno(1), SeccompAction::Allow);
        let tree = compile(rules.clone(), otherwise.clone(), action.clone()).unwrap();
        let machine = std::env::consts::ARCH.try_into().unwrap();
        let list = SeccompFilter::new(rules, otherwise, action, machine).unwrap();
        let list = BpfProgram::try_from(list).unwrap();
        assert!(tree.len() > 256 && tree.len() < list.len(), "{} of {}", tree.len(), list.len());
        for call in (0..500).chain([0x4000_0000, 0x4000_0003, u32::MAX]) {
            for argument in 0..4 {
                let expected = answer(&list, call, argument);
                assert_eq!(answer(&tree, call, argument), expected, "{call} {argument}");
            }
        }
    }
}
