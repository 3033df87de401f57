//! A directed graph, and its circles. Nothing recurses; time grows with vertices and edges.

/// A directed graph; edges have a label.
#[derive(Debug)]
pub(super) struct Graph<L> {
    edges: Vec<Vec<(usize, L)>>,
}

impl<L: Copy> Graph<L> {
    pub(super) fn new(vertices: usize) -> Self {
        Self { edges: (0..vertices).map(|_| Vec::new()).collect() }
    }

    /// Adds a vertex that stands for nothing but a junction.
    pub(super) fn add_vertex(&mut self) -> usize {
        self.edges.push(Vec::new());
        self.edges.len() - 1
    }

    pub(super) fn add(&mut self, from: usize, to: usize, label: L) {
        if to < self.edges.len()
            && let Some(edges) = self.edges.get_mut(from)
        {
            edges.push((to, label));
        }
    }

    pub(super) fn from(&self, vertex: usize) -> &[(usize, L)] {
        self.edges.get(vertex).map_or(&[], Vec::as_slice)
    }

    pub(super) fn len(&self) -> usize {
        self.edges.len()
    }

    /// The same with all edges turned round.
    pub(super) fn reversed(&self) -> Self {
        let mut turned = Self::new(self.len());
        for (from, edges) in self.edges.iter().enumerate() {
            for (to, label) in edges {
                turned.add(*to, from, *label);
            }
        }
        turned
    }

    /// Which vertices lie on circles with each other: for each vertex the number of its part
    /// (Tarjan's strongly connected components). Edges lead to parts with the same or a lower
    /// number.
    pub(super) fn parts(&self) -> Vec<usize> {
        const NEW: usize = usize::MAX;
        let count = self.len();
        let (mut order, mut low) = (vec![NEW; count], vec![NEW; count]);
        let mut part = vec![NEW; count];
        let (mut open, mut path): (Vec<usize>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
        let (mut next, mut parts) = (0, 0);
        let get = |list: &[usize], at: usize| list.get(at).copied().unwrap_or(NEW);
        let set = |list: &mut [usize], at: usize, value: usize| {
            if let Some(place) = list.get_mut(at) {
                *place = value;
            }
        };
        for root in 0..count {
            if get(&order, root) != NEW {
                continue;
            }
            path.push((root, 0));
            while let Some((vertex, step)) = path.pop() {
                if step == 0 {
                    set(&mut order, vertex, next);
                    set(&mut low, vertex, next);
                    next += 1;
                    open.push(vertex);
                } else if let Some((child, _)) = self.from(vertex).get(step - 1) {
                    let least = get(&low, vertex).min(get(&low, *child));
                    set(&mut low, vertex, least);
                }
                // The first edge from here that leads to a new vertex.
                let mut step = step;
                let mut down = None;
                while let Some((to, _)) = self.from(vertex).get(step) {
                    step += 1;
                    if get(&order, *to) == NEW {
                        down = Some(*to);
                        break;
                    }
                    if get(&part, *to) == NEW {
                        let least = get(&low, vertex).min(get(&order, *to));
                        set(&mut low, vertex, least);
                    }
                }
                if let Some(child) = down {
                    path.push((vertex, step));
                    path.push((child, 0));
                    continue;
                }
                if get(&low, vertex) == get(&order, vertex) {
                    while let Some(member) = open.pop() {
                        set(&mut part, member, parts);
                        if member == vertex {
                            break;
                        }
                    }
                    parts += 1;
                }
            }
        }
        part
    }

    /// The labels of a shortest way between two vertices through vertices that are `allowed`.
    pub(super) fn way(
        &self,
        from: usize,
        to: usize,
        allowed: impl Fn(usize) -> bool,
    ) -> Option<Vec<(usize, L)>> {
        let mut came: std::collections::BTreeMap<usize, (usize, L)> =
            std::collections::BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([from]);
        while let Some(vertex) = queue.pop_front() {
            for (next, label) in self.from(vertex) {
                if !allowed(*next) || came.contains_key(next) {
                    continue;
                }
                came.insert(*next, (vertex, *label));
                if *next == to {
                    let mut way = Vec::new();
                    let mut here = to;
                    while let Some((before, label)) = came.get(&here) {
                        way.push((here, *label));
                        here = *before;
                        if here == from {
                            break;
                        }
                    }
                    way.reverse();
                    return Some(way);
                }
                queue.push_back(*next);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(vertices: usize, edges: &[(usize, usize)]) -> Graph<()> {
        let mut graph = Graph::new(vertices);
        for (from, to) in edges {
            graph.add(*from, *to, ());
        }
        graph
    }

    #[test]
    fn circles_are_parts_and_edges_lead_down() {
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (5, 0)];
        let graph = graph(6, &edges);
        let parts = graph.parts();
        assert_eq!((parts[0], parts[1]), (parts[1], parts[2]));
        assert_eq!(parts[3], parts[4]);
        assert!(parts[5] > parts[0] && parts[0] > parts[3]);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let count = 200_000;
        let edges: Vec<(usize, usize)> = (0..count - 1).map(|at| (at, at + 1)).collect();
        let graph = graph(count, &edges);
        let mut parts = graph.parts();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), count);
        assert_eq!(graph.way(0, count - 1, |_| true).map(|way| way.len()), Some(count - 1));
        assert!(graph.way(1, 0, |_| true).is_none());
    }
}
