"""What do lists become when features are ablated while they are written?"""
