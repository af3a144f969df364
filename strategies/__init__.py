"""The decisions: pure functions of a request and predictions. No I/O, no clock, no chance.

    recommend.recommend(request, candidates, decision_id)   the best hardware for a model
    compare.compare(request, cells)                         one model over hardware and batch sizes
    place.place(request, cells, decision_id)                models onto the devices of a fleet
    choose.choose(request, predictions, decision_id)        how models run together on one device

The same input gives the same answer. The order of the lists that come in changes nothing: what
is exactly equal is ordered by name.
"""
