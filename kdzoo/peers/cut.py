"""Cut a torch.fx graph in two, trunk and branch, after the last step of a stage."""

from dataclasses import dataclass

from torch import fx

from kdzoo.peers.anatomy import Anatomy, Stage
from kdzoo.peers.hooked import copied


@dataclass(frozen=True)
class Halves:
    """A graph in two pieces.

    Attributes:
        trunk: x -> (output of the last shared stage, any other value that the branch needs ...).
        branch: those values -> (the network's output, embedding, last stage's features, the outputs
            of all watched stages, wherever they are).
    """

    trunk: fx.Graph
    branch: fx.Graph


def cut(graph: fx.Graph, stage: str, anatomy: Anatomy) -> Halves:
    """Cut the graph of a network after ``stage``, the path of a module that it calls.

    Raises:
        LookupError: the stage, the last stage or the classifier has no step in this graph.
    """
    nodes = list(graph.nodes)
    output = nodes[-1]
    end = _last_step(nodes, stage)
    features = _last_step(nodes, anatomy.stages[-1].name)
    classify = _last_step(nodes, anatomy.classifier)
    embedding = classify.args[0] if classify.args else next(iter(classify.kwargs.values()))
    assert isinstance(embedding, fx.Node)
    watched = [_seen(graph, nodes, stage) for stage in anatomy.watched.values()]
    results = [output.args[0], embedding, features, watched]
    nodes = list(graph.nodes)

    first = nodes[: nodes.index(end) + 1]
    # a weight that is fetched early for the branch alone belongs to the branch
    late = {n for n in first if n.op == "get_attr" and not n.users.keys() & set(first)}
    shared = [n for n in first if n not in late]
    rest = [n for n in nodes[:-1] if n in late or n not in set(first)]
    needed = {n for later in rest for n in later.all_input_nodes}
    needed.update(n for n in (*output.all_input_nodes, embedding, features, *watched))
    crossing = [end, *(n for n in shared if n in needed and n is not end)]
    return Halves(_copy(shared, [], crossing), _copy(rest, crossing, results))


def _last_step(nodes: list[fx.Node], path: str) -> fx.Node:
    for node in reversed(nodes):
        where = node.meta.get("path", "")
        if node.op != "output" and (where == path or where.startswith(f"{path}.")):
            return node
    raise LookupError(path)


def _seen(graph: fx.Graph, nodes: list[fx.Node], stage: Stage) -> fx.Node:
    """The output of a stage, a copy of it where it is changed afterwards."""
    step = _last_step(nodes, stage.name)
    if not stage.overwritten:
        return step
    for copy in step.users:
        if copy.target is copied:  # of an earlier attempt to cut this graph
            return copy
    with graph.inserting_after(step):
        return graph.call_function(copied, (step,))


def _copy(nodes: list[fx.Node], inputs: list[fx.Node], outputs: list[fx.node.Argument]) -> fx.Graph:
    graph = fx.Graph()
    copies = {node: graph.placeholder(f"crossing_{i}") for i, node in enumerate(inputs)}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(fx.node.map_arg(tuple(outputs), copies.__getitem__))
    graph.lint()
    return graph
