"""The claims that are put to the test for each model, one small function a claim: the paper's six findings and ours.

Each module holds claims about one thing; `claim` says what a claim is and how its verdict follows. Gathered into the
table `findings` they are in `analyses.findings`.
"""
