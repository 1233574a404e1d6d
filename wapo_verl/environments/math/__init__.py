"""The verifier of mathematics: is a written answer equal in meaning to the right one?"""
