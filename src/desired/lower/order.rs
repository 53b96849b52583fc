//! The order that steps can run in.

use std::collections::VecDeque;

/// Sorts steps so that each stands behind those it waits for, otherwise in written order.
///
/// `waits[i]` lists the steps that step `i` waits for. If there is a circle, gives the shortest one, each step
/// waiting for the next and the last for the first.
pub(super) fn run_order(waits: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut placed = vec![false; waits.len()];
    let mut order = Vec::with_capacity(waits.len());
    while order.len() < waits.len() {
        let next =
            (0..waits.len()).find(|step| !placed[*step] && waits[*step].iter().all(|before| placed[*before]));
        let Some(next) = next else { return Err(shortest_circle(waits, &placed)) };
        placed[next] = true;
        order.push(next);
    }
    Ok(order)
}

/// Every step among those not placed waits for another of them, so a circle exists.
fn shortest_circle(waits: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    (0..waits.len())
        .filter(|step| !placed[*step])
        .filter_map(|start| circle_through(waits, start))
        .min_by_key(Vec::len)
        .unwrap_or_default()
}

fn circle_through(waits: &[Vec<usize>], start: usize) -> Option<Vec<usize>> {
    let mut from: Vec<Option<usize>> = vec![None; waits.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(step) = queue.pop_front() {
        for &next in &waits[step] {
            if next == start {
                let mut path = vec![step];
                let mut at = step;
                while let Some(before) = from[at] {
                    path.push(before);
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            if from[next].is_none() {
                from[next] = Some(step);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Every step that has ended for certain when step `of` starts.
pub(super) fn before(waits: &[Vec<usize>], of: usize) -> Vec<bool> {
    let mut ended = vec![false; waits.len()];
    let mut queue = vec![of];
    while let Some(step) = queue.pop() {
        for &earlier in &waits[step] {
            if !ended[earlier] {
                ended[earlier] = true;
                queue.push(earlier);
            }
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(waits: &[&[usize]], want: Result<&[usize], &[usize]>) {
        let waits: Vec<Vec<usize>> = waits.iter().map(|before| before.to_vec()).collect();
        assert_eq!(run_order(&waits).as_deref().map_err(Vec::as_slice), want);
    }

    #[test]
    fn steps_stand_behind_what_they_wait_for() {
        check(&[], Ok(&[]));
        check(&[&[], &[0], &[1]], Ok(&[0, 1, 2]));
        check(&[&[2], &[], &[]], Ok(&[1, 2, 0]));
        check(&[&[0]], Err(&[0]));
        check(&[&[1], &[2], &[0], &[4], &[3]], Err(&[3, 4]));
    }

    proptest::proptest! {
        #[test]
        fn an_order_holds_every_step_once_and_behind_its_needs(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30)) {
            let mut waits = vec![Vec::new(); 12];
            for (step, earlier) in edges {
                waits[step].push(earlier);
            }
            match run_order(&waits) {
                Ok(order) => {
                    let place = |step: usize| order.iter().position(|at| *at == step).unwrap();
                    assert_eq!(order.len(), 12);
                    for (step, earlier) in waits.iter().enumerate().flat_map(|(step, all)| all.iter().map(move |e| (step, *e))) {
                        assert!(place(earlier) < place(step));
                    }
                }
                Err(circle) => {
                    assert!(!circle.is_empty());
                    for (at, step) in circle.iter().enumerate() {
                        assert!(waits[*step].contains(&circle[(at + 1) % circle.len()]));
                    }
                }
            }
        }
    }
}
