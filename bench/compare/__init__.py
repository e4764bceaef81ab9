"""What bench/peers.py is made of.

problem.py reads problems and case files, masks.py and inputs.py make their tensors,
calls.py turns one into a call of libattn and one of PyTorch, rounds.py measures both,
report.py prints and writes what came out.
"""
