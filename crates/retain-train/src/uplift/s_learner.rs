//! A model of the outcome that read the treatment, with the treatment given: a model of the features alone.

use retain_score::{MarginModel, Node, NodeKind, Tree};

/// The margin that `model` has where the feature at `feature_idx`, the last of its schema and a number, has a value.
pub(super) fn with_value(model: &MarginModel, feature_idx: u32, value: f64) -> MarginModel {
    let (given, terms): (Vec<_>, Vec<_>) = model.terms.iter().cloned().partition(|term| term.feature_idx == feature_idx);
    let intercept = model.intercept + given.iter().map(|term| term.shape.value(value)).sum::<f64>();
    let trees = model.trees.iter().map(|tree| tree_with_value(tree, feature_idx, value)).collect();
    MarginModel { intercept, terms, trees }
}

fn tree_with_value(tree: &Tree, feature_idx: u32, value: f64) -> Tree {
    let mut nodes = Vec::with_capacity(tree.nodes.len());
    copy(tree, 0, &mut nodes, &|feature, goes_left: &dyn Fn(f64) -> bool| (feature == feature_idx).then(|| goes_left(value)));
    Tree { nodes }
}

/// Whether a question is answered already, and how.
type Answer<'a> = &'a dyn Fn(u32, &dyn Fn(f64) -> bool) -> Option<bool>;

/// Copies a subtree behind the nodes there are and returns its cover, which is that of the leaves it keeps.
fn copy(tree: &Tree, position: usize, nodes: &mut Vec<Node>, answer: Answer<'_>) -> f64 {
    let node = &tree.nodes[position];
    let NodeKind::Split { feature_idx, test, missing_left, left, right } = &node.kind else {
        nodes.push(node.clone());
        return node.cover;
    };
    if let Some(goes_left) = answer(*feature_idx, &|value| test.goes_left(value, *missing_left)) {
        return copy(tree, if goes_left { *left } else { *right } as usize, nodes, answer);
    }
    let place = nodes.len();
    nodes.push(node.clone());
    let left_place = nodes.len() as u32;
    let left_cover = copy(tree, *left as usize, nodes, answer);
    let right_place = nodes.len() as u32;
    let cover = left_cover + copy(tree, *right as usize, nodes, answer);
    let (test, missing_left) = (test.clone(), *missing_left);
    nodes[place] = Node {
        cover,
        kind: NodeKind::Split { feature_idx: *feature_idx, test, missing_left, left: left_place, right: right_place },
    };
    cover
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use retain_score::{Shape, Term, Test};

    use super::*;

    fn leaf(value: f64) -> Node {
        Node { cover: 1.0, kind: NodeKind::Leaf { value } }
    }

    fn split(feature_idx: u32, cover: f64, left: u32, right: u32) -> Node {
        Node { cover, kind: NodeKind::Split { feature_idx, test: Test::Below(0.5), missing_left: false, left, right } }
    }

    #[test]
    fn the_value_answers_its_questions_wherever_they_stand() {
        let nodes =
            vec![split(0, 4.0, 1, 4), split(1, 2.0, 2, 3), leaf(1.0), leaf(2.0), split(1, 2.0, 5, 6), leaf(3.0), leaf(4.0)];
        let root = vec![split(1, 2.0, 1, 2), leaf(10.0), leaf(20.0)];
        let shape = Shape::Number {
            low: 0.0,
            high: 1.0,
            log: false,
            center: 0.0,
            scale: 1.0,
            linear: 100.0,
            quadratic: 0.0,
            missing: 0.0,
        };
        let terms = vec![Term { feature_idx: 1, shape, mean: 0.0 }];
        let model = MarginModel { intercept: 0.0, terms, trees: vec![Tree { nodes }, Tree { nodes: root }] };
        for value in [0.0, 1.0] {
            let given = with_value(&model, 1, value);
            for feature in [0.0, 1.0] {
                assert_eq!(given.margin(&[feature]), model.margin(&[feature, value]));
            }
            assert_eq!((given.terms.len(), given.trees[0].nodes.len(), given.trees[1].nodes.len()), (0, 3, 1));
            assert_eq!(given.trees[0].nodes[0].cover, 2.0);
        }
    }
}
