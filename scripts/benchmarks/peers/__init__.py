"""How fast is saeattr beside the tools that people use for the same?"""
