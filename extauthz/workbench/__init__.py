"""The engine in the hands of people: try, explain, replay, check and convert policies. It decides nothing of its own.

Every command here asks the same ``Check`` that the server asks, with the same snapshot; what differs is only where the
request comes from (``extauthz.workbench.given`` says who asks where nobody shows a credential) and how the answer is told.
"""
