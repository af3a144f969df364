"""The native worker: runs real models on this machine, as the bus asks, and says what it took.

feeding    inputs from a manifest's recipe, and whether outputs are right
minilm     the graph of a text encoder, from a package's weights
making     a folder of models, from packages (`make models`)
engine     sessions and waves: runs a job, and measures it
gauges     memory and power of this machine
service    the shell: jobs from the bus, results and events onto it
"""
