"""What quantisation costs and where: `waterfall` step by step on recordings, `explain` tensor by tensor.

`forms` are the steps that one network takes from teacher to engine, scored by `steps`. `twin` pairs the int8 graph with
its float network, `noise` and `sensitivity` measure, `advice` says it in words.
"""
