"""When do facts, their phases and their movers appear in training?"""
