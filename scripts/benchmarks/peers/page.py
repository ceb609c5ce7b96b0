"""stub"""
def write_page(measured, settings, out):
    pass
