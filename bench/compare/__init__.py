"""What bench/peers.py is made of.

problem.py reads problems and case files, masks.py and inputs.py make their tensors.
peer.py says what a library looks like, peer_*.py are those that there are. measure.py
prepares problems, agree.py compares results, rounds.py takes the times, limits.py those
of the machine; ratios.py, report.py and plot.py say what came out.
"""
