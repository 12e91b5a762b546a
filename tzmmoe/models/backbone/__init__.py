"""EasyRec's component form: blocks that form a graph, and the expressions on its edges."""
