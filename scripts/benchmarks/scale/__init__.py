"""What does a model of full size take?"""
